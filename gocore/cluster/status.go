package cluster

import (
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// OwnershipStatus is where this engine's name stands.
type OwnershipStatus struct {
	Name      string                   `json:"name"`
	State     string                   `json:"state"`
	Epoch     uint64                   `json:"owner_epoch,string"`
	StoreID   string                   `json:"store_id"`
	Holder    string                   `json:"holder,omitempty"` // of another owner
	Cause     string                   `json:"cause,omitempty"`
	Published types.Version            `json:"stored_version,string"` // of the head that lies in the store
	Pending   bool                     `json:"publish_pending"`
	LeaseMS   float64                  `json:"lease_left_ms"`
	LastError string                   `json:"last_error,omitempty"`
	Counters  coherence.PublisherStats `json:"counters"`
}

// Status is a snapshot.
func (a *Announcer) Status() OwnershipStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.machine.Stats()
	out := OwnershipStatus{
		Name: a.cfg.Name, State: s.State.String(), Epoch: s.Epoch, StoreID: s.StoreID, Cause: s.Cause,
		Published: s.Stored, Pending: s.Want > s.Stored, Counters: s,
	}
	if !s.Holder.IsZero() && s.Holder != a.cfg.Instance {
		out.Holder = s.Holder.String()
	}
	if s.Deadline > 0 {
		out.LeaseMS = float64(s.Deadline-a.now()) / float64(types.Millisecond)
	}
	if a.lastErr != nil {
		out.LastError = a.lastErr.Error()
	}
	return out
}

// NameStatus is what is known of one name that is open here.
type NameStatus struct {
	Name     string        `json:"name"`
	Handles  int           `json:"handles"`
	Instance string        `json:"instance,omitempty"`
	Epoch    uint64        `json:"owner_epoch,string"`
	StoreID  string        `json:"store_id"`
	Version  types.Version `json:"version,string"`
	Source   string        `json:"source,omitempty"` // of what was adopted: watch, get, ...
	AgeMS    float64       `json:"age_ms"`           // since it was last proven
	Fresh    bool          `json:"fresh"`
	Expired  bool          `json:"expired"`
	Gone     bool          `json:"gone"`
	Legacy   bool          `json:"legacy"`
	Code     string        `json:"code"` // of the last answer
	Detail   string        `json:"detail,omitempty"`
}

// Names lists what is known of the names that are open here, at most so many.
func (r *Resolver[B]) Names(most int) []NameStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []NameStatus{}
	for _, n := range r.machine.Names(r.now()) {
		if len(out) == most {
			break
		}
		s := NameStatus{
			Name: n.Name, Handles: n.Refs, Epoch: n.Epoch, StoreID: n.StoreID, Version: n.Version, Source: n.Source,
			AgeMS: float64(n.Age) / float64(types.Millisecond), Fresh: n.Fresh, Expired: n.Expired, Gone: n.Gone,
			Legacy: n.Legacy, Code: n.Code.String(), Detail: n.Detail,
		}
		if n.Bound {
			s.Instance = n.Instance.String()
		}
		if n.Code == errcode.OK {
			s.Detail = ""
		}
		out = append(out, s)
	}
	return out
}

// Stats is a snapshot of the machine's counters.
func (r *Resolver[B]) Stats() coherence.DirectoryStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.Stats()
}
