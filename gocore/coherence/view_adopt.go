package coherence

import (
	"fmt"
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// hardTTL is the least age past which a snapshot that neither session nor refresh confirms binds nothing new.
const hardTTL = 30 * types.Second

// refreshState is the one fetch that a peer may have under way, and when the next may start.
type refreshState struct {
	flying    bool
	forced    string // reason, when a fetch is wanted whatever the versions say
	need      types.Version
	why       string // what raised need
	notBefore types.Time
	backoff   types.Time
	freshAt   types.Time // when the snapshot was last known to be the present one
}

// Adopt takes a descriptor over if it is of this instance, valid and newer. Compare and adopt is one step
// (model: drain.adopt).
func (v *View) Adopt(now types.Time, d *descriptor.Descriptor) (Change, []Action, error) {
	r := &v.refresh
	r.flying, r.forced = false, ""
	if err := v.acceptable(d); err != nil {
		v.stats.InvalidIgnored++
		v.backOff(now)
		return Change{}, v.refreshIfDue(now, nil), err
	}
	if d.Version >= r.need {
		r.backoff = 0
		r.notBefore = now + v.cfg.BackoffMin
	} else { // it says it is newer, and then is not: no reason to ask in a loop
		v.backOff(now)
	}
	ch := Change{To: d.Version}
	old := v.desc
	if old != nil {
		ch.From = old.Version
		// Newer is ">" and never "!=": answers may overtake each other. A newer epoch does not make up for an older version:
		// floors and states are of the one counter of this instance.
		newer, _ := descriptor.Newer(&d.Head, &old.Head)
		if !newer || d.Version < old.Version {
			if d.Version == old.Version {
				r.freshAt = now
			} else {
				v.stats.OlderIgnored++
			}
			ch.To = old.Version
			return ch, v.refreshIfDue(now, v.resolveListed(now, nil)), nil
		}
	}
	v.desc = d
	v.stats.Adopted++
	if d.Version >= r.need {
		r.freshAt = now
	}
	ch.Adopted, ch.First = true, old == nil
	var acts []Action
	if old != nil {
		acts = diff(old, d, &ch, acts)
	}
	acts = v.resolveListed(now, acts)
	return ch, v.refreshIfDue(now, acts), nil
}

func (v *View) acceptable(d *descriptor.Descriptor) error {
	switch {
	case d == nil:
		return errcode.New(errcode.MetadataInvalid, "adopt descriptor", "there is none")
	case v.replaced:
		return errcode.New(errcode.StaleInstance, "adopt descriptor",
			fmt.Sprintf("instance %s was replaced", v.cfg.Instance))
	case d.Instance != v.cfg.Instance:
		e := errcode.New(errcode.StaleInstance, "adopt descriptor",
			fmt.Sprintf("it is of instance %s, not of %s", d.Instance, v.cfg.Instance)).
			WithHint("open the segment again: the node was replaced")
		e.Peer = d.Instance.String()
		return e
	}
	if err := d.Validate(); err != nil {
		e := errcode.New(errcode.MetadataInvalid, "adopt descriptor", "it breaks the format's rules").Wrap(err)
		e.Segment, e.Peer = d.Name, d.Instance.String()
		return e
	}
	return nil
}

// diff notes what changed, and what that makes stale: a vanished data address its own paths, buffers nothing but keys,
// the version alone nothing at all.
func diff(old, d *descriptor.Descriptor, ch *Change, acts []Action) []Action {
	a, b := old.Buffers, d.Buffers
	keys := false
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || (len(a) > 0 && a[0].ID < b[0].ID):
			ch.Removed = append(ch.Removed, a[0].ID)
			a = a[1:]
		case len(a) == 0 || b[0].ID < a[0].ID:
			ch.Added = append(ch.Added, b[0].ID)
			b = b[1:]
		default:
			if a[0].State != b[0].State {
				ch.States = append(ch.States, b[0].ID)
			}
			keys = keys || !a[0].Equal(b[0])
			a, b = a[1:], b[1:]
		}
	}
	for _, addr := range old.Data {
		if !slices.Contains(d.Data, addr) {
			ch.Devices = append(ch.Devices, addr)
		}
	}
	if len(ch.Devices) > 0 {
		acts = append(acts, Drop{Devices: ch.Devices, Cause: "data addresses are gone"})
	}
	if keys || len(ch.Added) > 0 || len(ch.Removed) > 0 {
		acts = append(acts, Drop{Cause: "buffers changed"})
	}
	return acts
}

// RefreshFailed ends a Refresh that brought nothing. The snapshot's age is not moved, the back-off is.
func (v *View) RefreshFailed(now types.Time, err errcode.Code) []Action {
	r := &v.refresh
	r.flying = false
	v.stats.RefreshesFail++
	v.backOff(now)
	var acts []Action
	for _, id := range v.waitingIDs() {
		if v.waiting[id].expired {
			delete(v.waiting, id)
			acts = append(acts, GrantResolved{ID: id, Code: errcode.MetadataUnavailable})
		}
	}
	if len(v.waiting) > 0 && r.forced == "" {
		r.forced = "operations wait; the last attempt failed with " + err.String()
	}
	return v.refreshIfDue(now, acts)
}

// RefreshNow asks for a refresh, e.g. after the peer answered STALE_BUFFER. Single-flight and held back by the back-off.
func (v *View) RefreshNow(now types.Time, why string) []Action {
	if v.refresh.forced == "" {
		v.refresh.forced = why
	}
	return v.refreshIfDue(now, nil)
}

// Heartbeat takes what a live session says about the peer. A newer version or floor only starts a refresh: whoever has
// a path is a holder and gets the DRAIN.
func (v *View) Heartbeat(now types.Time, version, floor types.Version) []Action {
	return v.heard(now, max(version, floor), "heartbeat")
}

// Invalidate takes a push: the peer published version.
func (v *View) Invalidate(now types.Time, version types.Version) []Action {
	return v.heard(now, version, "push")
}

// Confirm takes the version of a head that a store was just proven to hold for this instance: the snapshot is fresh if it
// is as new, also without a session, and else it is fetched.
func (v *View) Confirm(now types.Time, version types.Version) []Action {
	return v.heard(now, version, "store")
}

func (v *View) heard(now types.Time, version types.Version, why string) []Action {
	r := &v.refresh
	if version > r.need {
		r.need, r.why = version, why
	}
	if v.desc != nil && v.desc.Version >= r.need {
		r.freshAt = now
	}
	return v.refreshIfDue(now, nil)
}

// expired reports whether the snapshot is too old to bind anything new: past the hard TTL, with no session.
func (v *View) expired(now types.Time) bool {
	return v.cfg.SoftTTL > 0 && !v.session && v.desc != nil &&
		now-v.refresh.freshAt >= max(hardTTL, v.cfg.SoftTTL)
}

// agedOut starts the background refresh of a snapshot that is used past its soft TTL. A session on which nothing newer
// was heard keeps it fresh.
func (v *View) agedOut(now types.Time, acts []Action) []Action {
	r := &v.refresh
	if v.cfg.SoftTTL <= 0 || r.forced != "" || now-r.freshAt < v.cfg.SoftTTL ||
		(v.session && v.desc != nil && v.desc.Version >= r.need) {
		return acts
	}
	r.forced = "soft TTL passed"
	return v.refreshIfDue(now, acts)
}

func (v *View) refreshWanted() bool {
	r := &v.refresh
	if v.replaced {
		return false
	}
	return r.forced != "" || (v.desc == nil && len(v.waiting) > 0) ||
		(v.desc != nil && v.desc.Version < r.need && (v.session || len(v.waiting) > 0))
}

func (v *View) refreshIfDue(now types.Time, acts []Action) []Action {
	r := &v.refresh
	if r.flying || !v.refreshWanted() || now < r.notBefore {
		return acts
	}
	why := r.forced
	if why == "" {
		why = r.why
	}
	if why == "" {
		why = "nothing is known yet"
	}
	r.flying, r.forced = true, ""
	r.notBefore = now + v.cfg.BackoffMin
	v.stats.Refreshes++
	return append(acts, Refresh{Why: why})
}

// backOff doubles the pause, with jitter of half of it so that the readers of one peer do not come back together.
func (v *View) backOff(now types.Time) {
	r := &v.refresh
	r.backoff = min(max(2*r.backoff, v.cfg.BackoffMin), v.cfg.BackoffMax)
	half := r.backoff / 2
	r.notBefore = now + half + types.Time(v.cfg.Random()%uint64(half+1))
}
