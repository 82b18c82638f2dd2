package engine

import (
	"mooncake_te/gocore/cluster"
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/store"
)

// MetadataStatus is what an engine knows of its store, of its own name there and of the names it opened; peer to peer
// only the settings.
type MetadataStatus struct {
	Store     *store.Info                      `json:"store"` // nil: peer to peer
	Ownership *ownershipStatus                 `json:"ownership"`
	Names     []cluster.NameStatus             `json:"names"`
	Counters  *snake[coherence.DirectoryStats] `json:"counters"`
	Settings  map[string]Setting               `json:"settings"`
}

// ownershipStatus spells the counters as everything else in the document.
type ownershipStatus struct {
	cluster.OwnershipStatus
	Counters snake[coherence.PublisherStats] `json:"counters"`
}

// Setting is an effective value and where it came from: a variable's name, "configuration", "default", or the setting
// that raised it.
type Setting struct {
	Value int64  `json:"value"`
	From  string `json:"from"`
}

func (e *Engine) metadataStatus() MetadataStatus {
	s := MetadataStatus{Names: []cluster.NameStatus{}, Settings: e.metadataSettings()}
	m := e.meta
	if m == nil {
		return s
	}
	info := m.store.Info()
	s.Store = &info
	if m.announcer != nil {
		o := m.announcer.Status()
		s.Ownership = &ownershipStatus{o, snake[coherence.PublisherStats]{o.Counters}}
	}
	if m.resolver != nil {
		s.Names = m.resolver.Names(maxListed)
		s.Counters = &snake[coherence.DirectoryStats]{m.resolver.Stats()}
	}
	return s
}

func (e *Engine) metadataSettings() map[string]Setting {
	c := &e.cfg
	out := map[string]Setting{
		"metadata_cache_ttl_ms": {c.CacheTTLMS, c.From("metadata_cache_ttl_ms")},
		"dereg_grace_ms":        {0, "interop is off"},
		"hard_ttl_ms":           {0, "metadata_cache_ttl_ms"},
	}
	if c.CacheTTLMS > 0 {
		out["hard_ttl_ms"] = Setting{max(c.CacheTTLMS, hardTTLMinMS), "metadata_cache_ttl_ms"}
	}
	if c.Interop != "" {
		out["dereg_grace_ms"] = Setting{c.DeregGraceMS, c.From("dereg_grace_ms")}
		if ms := c.EffectiveGraceMS(); ms != c.DeregGraceMS {
			out["dereg_grace_ms"] = Setting{ms, "raised to metadata_cache_ttl_ms"}
		}
	}
	return out
}

// hardTTLMinMS is the least hard TTL, as coherence.Directory has it.
const hardTTLMinMS = 30_000
