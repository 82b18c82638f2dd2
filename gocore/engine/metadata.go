package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mooncake_te/gocore/cluster"
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

// metadata is what an engine with a store has: the store, what keeps its own name there, and what follows the names of
// others. Peer to peer there is none of it, and names are addresses.
type metadata struct {
	store     store.Store
	announcer *cluster.Announcer // nil: the engine has no name, it only looks others up
	resolver  *cluster.Resolver[*peer]
	names     map[string]*openName // under Engine.mu
}

// openName is a name that segments or opens under way refer to, and the peer that it leads to. It holds one of that peer's
// counts, for all its segments.
type openName struct {
	refs     int
	peer     *peer // nil until the first adoption
	segments map[types.SegmentID]*segment
	shared   *segment // the handle that warm opens return again
}

// grace is how long drains wait for stock readers, which cannot be asked.
func (e *Engine) grace() time.Duration {
	if e.cfg.Interop == "" {
		return 0
	}
	return config.Millis(e.cfg.EffectiveGraceMS())
}

// ownership is what heartbeats say of our own name.
func (e *Engine) ownership() (epoch uint64, storeID string) {
	if e.meta == nil || e.meta.announcer == nil {
		return 0, ""
	}
	return e.meta.announcer.Owning()
}

// openStore begins to use the store of the configuration, if there is one. It does no I/O.
func (e *Engine) openStore() error {
	if !e.cfg.UsesStore() {
		return nil
	}
	const op = "create engine"
	if e.cfg.Name != "" {
		if err := store.CheckName(op, e.cfg.Name); err != nil {
			return err
		}
	}
	s, err := open.Store(e.cfg.Metadata, open.Options{
		ClusterID: e.cfg.MetadataClusterID, Token: e.cfg.MetadataToken,
		TLSCert: e.cfg.MetadataTLSCert, TLSKey: e.cfg.MetadataTLSKey, TLSCA: e.cfg.MetadataTLSCA,
		Timeout: config.Millis(e.cfg.MetadataTimeoutMS), Poll: max(config.Millis(e.cfg.CacheTTLMS), minPoll), Logger: e.log,
	})
	if err != nil {
		return err
	}
	e.meta = &metadata{store: s, names: map[string]*openName{}}
	if e.cfg.Interop != "" && e.cfg.EffectiveGraceMS() != e.cfg.DeregGraceMS {
		e.log.Info("dereg_grace_ms is raised to metadata_cache_ttl_ms", "ms", e.cfg.EffectiveGraceMS())
	}
	return nil
}

// detectLimit bounds how long the start of an engine waits for an HTTP server to say what it is.
const detectLimit = time.Second

// minPoll bounds how often a store without push is listed.
const minPoll = 100 * time.Millisecond

// startMetadata begins to follow names. What needs the node (publishing, binding) begins with a claim and with an open.
func (e *Engine) startMetadata() {
	m := e.meta
	if m == nil {
		return
	}
	requested := func(op string, err error) {
		result := "ok"
		if err != nil {
			result = errcode.Of(err).String()
			if errcode.Of(err) == errcode.Internal {
				result = errcode.MetadataUnavailable.String()
			}
		}
		e.metrics.StoreRequests.WithLabelValues(op, result).Inc()
	}
	timeout := config.Millis(e.cfg.MetadataTimeoutMS)
	own := e.cfg.Name
	if d, ok := m.store.(store.Detector); ok {
		// Which promises an HTTP server can keep is known once it answered; one that is down now is taken for ours.
		ctx, cancel := context.WithTimeout(e.ctx, min(timeout, detectLimit))
		requested("detect", d.Detect(ctx))
		cancel()
	}
	info := m.store.Info()
	for _, lack := range info.Lacks {
		e.log.Warn("the metadata store cannot keep a promise", "store", info.URL, "invariant", lack.Invariant, "reason", lack.Reason)
	}
	if own != "" {
		m.announcer = cluster.NewAnnouncer(cluster.AnnouncerConfig{
			Store: m.store, Name: own, Instance: e.instance, Random: randomWord, Now: cluster.BootTime,
			TTL: config.Millis(e.cfg.LeaseTTLMS), Renew: config.Millis(e.cfg.LeaseRenewMS), Timeout: timeout,
			Render: e.render, RaiseVersion: e.memory.raiseVersion, Logger: e.log,
			Requested: requested, Event: func(ev string) { e.metrics.Ownership.WithLabelValues(ev).Inc() },
		})
		e.memory.mu.Lock()
		m.announcer.Changed(e.memory.owner.Published())
		e.memory.mu.Unlock()
	}
	m.resolver = cluster.NewResolver(cluster.ResolverConfig[*peer]{
		Store: m.store, Random: randomWord, Now: cluster.BootTime, Timeout: timeout,
		SoftTTL: config.Millis(e.cfg.CacheTTLMS), NoCache: e.cfg.DisableMetacache,
		Bind: e.bind, BindTimeout: config.Millis(e.cfg.DialTimeoutMS),
		Adopted: e.adopted, Void: (*peer).release,
		Own: own, Owned: func(r coherence.StoreRecord) { m.announcer.RecordSeen(r) },
		Seen: func(storeID string, revision uint64) {
			if m.announcer != nil {
				m.announcer.StoreSeen(storeID, revision)
			}
		},
		Logger: e.log, Requested: requested, Event: func(ev string) { e.metrics.Names.WithLabelValues(ev).Inc() },
	})
}

// Claim takes the engine's name in the store, waiting for another owner as long as patience says, or replacing it.
func (e *Engine) Claim(takeover bool, patience, timeout time.Duration) (*Task, error) {
	const op = "claim segment name"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if e.meta == nil {
		return nil, e.errorf(errcode.InvalidArgument, op, "metadata is %q: peer to peer, names are not owned", e.cfg.Metadata)
	}
	if e.meta.announcer == nil {
		return nil, e.errorf(errcode.InvalidArgument, op, "the engine has no name").WithHint(`give it one: Engine("decode-0", ...)`)
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	patience = max(patience, 0)
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout+patience)
		defer cancel()
		if err := e.meta.announcer.Claim(ctx, takeover, patience); err != nil {
			return nil, err
		}
		return e.meta.announcer.Status(), nil
	}), nil
}

// stopMetadata gives the name back, as far as the store answers in time, and ends everything.
func (e *Engine) stopMetadata() {
	m := e.meta
	if m == nil {
		return
	}
	if m.announcer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
		m.announcer.Release(ctx)
		cancel()
		m.announcer.Close()
	}
	if m.resolver != nil {
		m.resolver.Shut()
	}
	if err := m.store.Close(); err != nil {
		e.log.Debug("closing the metadata store", "error", err)
	}
}

// releaseLimit bounds how long closing an engine waits for its store; the lease ends by itself later.
const releaseLimit = time.Second

// raiseVersion makes the counter pass a version found in the store, and publishes it.
func (m *memory) raiseVersion(above types.Version) types.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run(m.owner.RaiseVersion(above))
	return m.owner.Published()
}

// render writes down what is published at present.
func (e *Engine) render(epoch uint64, storeID string) (cluster.Document, error) {
	d := e.publishedDescriptor()
	d.Epoch, d.StoreID = epoch, storeID
	head := d.Head
	head.Buffers, head.Digest = uint64(len(d.Buffers)), d.DigestText()
	doc := cluster.Document{Version: d.Version, Head: descriptor.EncodeHead(&head)}
	if e.cfg.Interop == "" {
		return doc, nil
	}
	var err error
	doc.Stock, err = e.renderStock(d)
	return doc, err
}

// renderStock writes the copy for stock readers: they need addresses, which nobody else is told.
func (e *Engine) renderStock(d *descriptor.Descriptor) ([]store.StockKey, error) {
	c := *d
	c.Buffers = slices.Clone(d.Buffers)
	for i := range c.Buffers {
		if r, ok := e.memory.registration(c.Buffers[i].ID); ok {
			c.Buffers[i].Addr = r.addr
		}
	}
	keys, err := descriptor.EncodeStock(&c, descriptor.StockOptions{Protocol: "tcp", Now: time.Now()})
	if err != nil {
		return nil, err
	}
	out := make([]store.StockKey, len(keys))
	for i, k := range keys {
		out[i] = store.StockKey{Key: k.Key, Value: k.Value}
	}
	return out, nil
}

// bind reaches exactly the instance of a head and adopts its descriptor. The peer's count is taken.
func (e *Engine) bind(ctx context.Context, head *descriptor.Head) (*peer, error) {
	if head.Instance.IsZero() {
		err := errcode.New(errcode.Unsupported, "open segment", fmt.Sprintf("%q is a stock Mooncake engine's", head.Name)).
			WithHint("this version reads what stock engines publish (mooncake-te describe), but moves no data to or from them")
		err.Segment = head.Name
		return nil, err
	}
	p := e.lockedPeerFor(head.Instance)
	if p.ended {
		err := p.endErr
		p.mu.Unlock()
		e.evict(p)
		return nil, err
	}
	p.segments++
	if len(p.addrs) == 0 {
		p.addrs = head.Addresses
	}
	p.mu.Unlock()
	if p.self {
		_, err := p.adopt(e.describe())
		if err != nil {
			p.release()
			return nil, err
		}
		return p, nil
	}
	_, err := e.fetch(ctx, p, head.Addresses)
	if err == nil {
		return p, nil
	}
	var stale *control.StaleInstanceError
	if errors.As(err, &stale) {
		e.replaced(p, stale.Present)
		return nil, errcode.New(errcode.StaleInstance, "open segment", err.Error())
	}
	return nil, err
}

// adopted moves a name, and every segment of that name, to the instance that it leads to now.
func (e *Engine) adopted(name string, instance types.InstanceID, bound **peer) {
	if bound == nil {
		return // it led there before
	}
	p := *bound
	e.mu.Lock()
	n := e.meta.names[name]
	if n == nil { // closed meanwhile
		e.mu.Unlock()
		p.release()
		return
	}
	old := n.peer
	n.peer = p // takes over the count
	for _, seg := range n.segments {
		seg.peer = p
	}
	e.mu.Unlock()
	if old != nil {
		old.superseded(name, instance)
		old.release()
	}
}

// superseded: another instance has the name that led to this peer. With a session it lives, and what is under way goes
// on; without one nobody is waited for any longer: who asks for the name finds the other.
func (p *peer) superseded(name string, by types.InstanceID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil || p.self {
		return
	}
	p.failAll(errcode.StaleInstance, sprintf("it cannot be reached, and %q leads to instance %s now", name, by))
	p.releaseSettled()
}

func (e *Engine) metadataURL() string {
	if e.meta == nil {
		return "p2p"
	}
	return e.meta.store.Info().URL
}
