package engine

import (
	"fmt"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// drain is one acknowledged drain under way, with the task that reports it.
type drain struct {
	task    *Task
	within  time.Duration
	ids     []types.BufferID // everything that goes: registrations and grants
	started time.Time
}

// DrainResult is the report of a drain: who acknowledged, who was fenced, who did not answer in time.
type DrainResult struct {
	IDs          []types.BufferID `json:"ids"`
	Version      types.Version    `json:"version,string"`
	Acknowledged []string         `json:"acknowledged"`
	Fenced       []string         `json:"fenced"`
	TimedOut     []string         `json:"timed_out"`
	WaitedMS     float64          `json:"waited_ms"`
}

// Drain takes registrations and grants back. Once the task ended without an error the memory may be freed or reused;
// after QUARANTINED it must stay mapped. within < 0 means the engine's default D; 0 does not wait for acknowledgements.
func (e *Engine) Drain(ids []types.BufferID, within time.Duration) (*Task, error) {
	if err := e.usable("drain"); err != nil {
		return nil, err
	}
	if within < 0 {
		within = config.Millis(e.cfg.DrainMS)
	}
	return e.memory.drain(ids, within)
}

func (m *memory) drain(ids []types.BufferID, within time.Duration) (*Task, error) {
	const op = "drain"
	if len(ids) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, op, "no buffer given")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []types.BufferID
	for _, id := range ids {
		all = append(all, id)
		all = append(all, m.owner.IDsOf(id)...)
	}
	drainID, actions, err := m.owner.Drain(m.e.now(), ids, types.Time(within))
	if err != nil {
		return nil, err
	}
	d := &drain{task: m.e.newTask(), within: within, ids: all, started: time.Now()}
	m.drains[drainID] = d
	m.run(actions)
	return d.task, nil
}

// drainDone forgets what is gone and tells whoever waits (model: drain.ok).
func (m *memory) drainDone(a coherence.DrainDone) {
	d := m.drains[a.Drain]
	if d == nil {
		return
	}
	delete(m.drains, a.Drain)
	r := a.Report
	answers := m.e.metrics.DrainPeers
	answers.WithLabelValues("acknowledged").Add(float64(len(r.Acknowledged)))
	answers.WithLabelValues("fenced").Add(float64(len(r.Fenced)))
	answers.WithLabelValues("timed_out").Add(float64(len(r.TimedOut)))
	m.e.metrics.DrainSeconds.Observe(time.Since(d.started).Seconds())
	if r.Quarantined {
		m.e.metrics.Drains.WithLabelValues("quarantined").Inc()
		m.e.log.Error("memory is quarantined: its fence failed, it must stay mapped", "buffers", fmt.Sprint(r.IDs))
		d.task.finish(nil, errcode.New(errcode.Quarantined, "drain",
			fmt.Sprintf("the fence of buffers %v failed: something may still touch the memory", r.IDs)).
			WithHint("keep the memory mapped until the process ends"))
		return
	}
	for _, id := range d.ids {
		m.forget(id)
	}
	m.e.metrics.Drains.WithLabelValues("ok").Inc()
	if n := len(r.TimedOut); n > 0 && d.within > 0 { // with D = 0 nobody was waited for
		m.e.log.Warn("a drain went on without some peers; the fence keeps them out", "peers", n, "buffers", len(r.IDs))
	}
	d.task.finish(&DrainResult{
		IDs: r.IDs, Version: r.Version,
		Acknowledged: names(r.Acknowledged), Fenced: names(r.Fenced), TimedOut: names(r.TimedOut),
		WaitedMS: float64(time.Since(d.started).Microseconds()) / 1e3,
	}, nil)
}

func (m *memory) forget(id types.BufferID) {
	if v, ok := m.registrations.LoadAndDelete(id); ok {
		m.regCount.Add(-1)
		m.bytes.Add(-int64(v.(*registration).length))
	}
	if _, ok := m.grants.LoadAndDelete(id); ok {
		m.grantCount.Add(-1)
	}
}

// drainAll takes everything back that no other drain is taking already, and waits for those too.
func (m *memory) drainAll(within time.Duration) (any, error) {
	m.do(func(o *coherence.Owner, now types.Time) []coherence.Action { return o.Hasten(now, types.Time(within)) })
	m.mu.Lock()
	var running []*Task
	draining := map[types.BufferID]bool{}
	for _, d := range m.drains {
		running = append(running, d.task)
		for _, id := range d.ids {
			draining[id] = true
		}
	}
	m.mu.Unlock()
	var rest []types.BufferID
	for _, id := range m.registrationIDs() {
		if !draining[id] {
			rest = append(rest, id)
		}
	}
	var result any = &DrainResult{IDs: []types.BufferID{}, Acknowledged: []string{}, Fenced: []string{}, TimedOut: []string{}}
	var first error
	if len(rest) > 0 {
		t, err := m.drain(rest, within)
		if err != nil {
			return result, err
		}
		<-t.Done()
		if first = t.Err(); first == nil {
			result = t.result
		}
	}
	for _, t := range running {
		<-t.Done()
		if first == nil {
			first = t.Err()
		}
	}
	return result, first
}

func names(ids []types.InstanceID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}
