// Package config turns one JSON document into the settings of an engine. It reads no environment and no file: Python
// and C callers hand everything over, because a Go library inside another program does not see what that program puts
// into its environment after start. Every problem of a document is reported at once.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
)

// Config is the whole of an engine's settings. The JSON keys, defaults and units are documented in docs/config.md; a
// test keeps the two in step.
type Config struct {
	Name     string `json:"name"`
	Metadata string `json:"metadata"`

	MetadataClusterID string `json:"metadata_cluster_id"`
	MetadataToken     string `json:"metadata_token"`
	MetadataTLSCert   string `json:"metadata_tls_cert"`
	MetadataTLSKey    string `json:"metadata_tls_key"`
	MetadataTLSCA     string `json:"metadata_tls_ca"`
	MetadataTimeoutMS int64  `json:"metadata_timeout_ms"`
	LeaseTTLMS        int64  `json:"lease_ttl_ms"`
	LeaseRenewMS      int64  `json:"lease_renew_ms"`
	Takeover          bool   `json:"takeover"`
	NameWaitMS        int64  `json:"name_wait_ms"`
	Interop           string `json:"interop"`

	Listen        string   `json:"listen"`
	Advertise     []string `json:"advertise"`
	DataListen    string   `json:"data_listen"`
	DataAdvertise []string `json:"data_advertise"`
	Transports    []string `json:"transports"`

	CRC                bool `json:"crc"`
	ChunkBytes         int  `json:"chunk_bytes"`
	ConnectionsPerPeer int  `json:"connections_per_peer"`

	DrainMS       int64 `json:"drain_ms"`
	HeartbeatMS   int64 `json:"heartbeat_ms"`
	DialTimeoutMS int64 `json:"dial_timeout_ms"`
	OpenTimeoutMS int64 `json:"open_timeout_ms"`
	StallMS       int64 `json:"stall_ms"`
	CacheTTLMS    int64 `json:"metadata_cache_ttl_ms"`
	DeregGraceMS  int64 `json:"dereg_grace_ms"`

	DisableMetacache bool `json:"disable_metacache"`

	MaxBatches           int   `json:"max_batches"`
	MaxQueuedRequests    int   `json:"max_queued_requests"`
	MaxPeerBytesInFlight int64 `json:"max_peer_bytes_in_flight"`
	MaxInboundConns      int   `json:"max_inbound_connections"`
	MaxSessions          int   `json:"max_sessions"`
	MaxNotifyBytes       int   `json:"max_notify_bytes"`
	MaxNotifications     int   `json:"max_notifications"`
	MaxGrants            int   `json:"max_grants"`
	MaxAllocatedBytes    int64 `json:"max_allocated_bytes"`

	PSK     string `json:"psk"`
	TLSCert string `json:"tls_cert"`
	TLSKey  string `json:"tls_key"`
	TLSCA   string `json:"tls_ca"`

	LogLevel string `json:"log_level"`

	// Sources says where a value came from, by key ("MC_METADATA_CACHE_TTL_MS"): for errors and status only.
	Sources map[string]string `json:"sources,omitempty"`
}

// Default is what an empty document means.
func Default() Config {
	return Config{
		Metadata:             "p2p",
		Listen:               "127.0.0.1:0",
		Transports:           []string{"tcp"},
		CRC:                  true,
		ChunkBytes:           512 << 10,
		ConnectionsPerPeer:   2,
		DrainMS:              2000,
		HeartbeatMS:          1000,
		DialTimeoutMS:        3000,
		OpenTimeoutMS:        10000,
		StallMS:              30000,
		CacheTTLMS:           1000,
		DeregGraceMS:         1000,
		MetadataTimeoutMS:    3000,
		LeaseTTLMS:           10000,
		LeaseRenewMS:         3000,
		MaxBatches:           65536,
		MaxQueuedRequests:    8 << 20,
		MaxPeerBytesInFlight: 64 << 20,
		MaxInboundConns:      4096,
		MaxSessions:          4096,
		MaxNotifyBytes:       1 << 20,
		MaxNotifications:     4096,
		MaxGrants:            1 << 20,
		MaxAllocatedBytes:    1 << 40,
		LogLevel:             "warning",
	}
}

// Parse reads a document over the defaults and validates the result.
func Parse(document []byte) (Config, error) {
	cfg := Default()
	if len(strings.TrimSpace(string(document))) == 0 {
		return cfg, cfg.Validate()
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(document, &raw); err != nil {
		return cfg, errcode.New(errcode.InvalidArgument, "read configuration", "the document is not a JSON object").
			WithHint("see docs/config.md for the keys").Wrap(err)
	}
	problems := decodeFields(raw, &cfg)
	problems = append(problems, cfg.problems()...)
	return cfg, joined(problems)
}

// decodeFields sets each known key and names each unknown or ill-typed one.
func decodeFields(raw map[string]json.RawMessage, cfg *Config) []error {
	var problems []error
	fields := map[string]reflect.Value{}
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[key] = v.Field(i)
	}
	keys := make([]string, 0, len(raw))
	for k := range raw {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f, ok := fields[k]
		if !ok {
			problems = append(problems, fmt.Errorf("unknown key %q", k))
			continue
		}
		if err := json.Unmarshal(raw[k], f.Addr().Interface()); err != nil {
			got := clip(string(raw[k]))
			if slices.Contains(secrets, k) {
				got = "something else"
			}
			problems = append(problems, fmt.Errorf("%s: want %s, got %s", k, f.Type(), got))
		}
	}
	return problems
}

// secrets are keys whose values no error repeats.
var secrets = []string{"metadata", "metadata_token", "psk"}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// From says where the value of a key came from.
func (c *Config) From(key string) string {
	if variable := c.Sources[key]; variable != "" {
		return variable
	}
	return "configuration or default"
}

// UsesStore reports whether peers are found through a metadata store, and not by their address.
func (c *Config) UsesStore() bool {
	switch c.Metadata {
	case "", "p2p", "P2PHANDSHAKE":
		return false
	}
	return true
}

// EffectiveGraceMS is dereg_grace_ms as it holds: a stock reader believes what it read for as long as the TTL says.
func (c *Config) EffectiveGraceMS() int64 { return max(c.DeregGraceMS, c.CacheTTLMS) }

// schemes of the metadata stores; the rest of a URL is checked when the store is opened.
var schemes = []string{"etcd", "http", "https", "mem"}

// Validate returns every problem at once, or nil.
func (c *Config) Validate() error { return joined(c.problems()) }

func joined(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return errcode.New(errcode.InvalidArgument, "read configuration", fmt.Sprintf("%d problem(s)", len(problems))).
		WithHint("see docs/config.md for keys, defaults and units").Wrap(errors.Join(problems...))
}

func (c *Config) problems() []error {
	var p []error
	add := func(format string, args ...any) {
		err := fmt.Errorf(format, args...)
		key, _, _ := strings.Cut(err.Error(), ":")
		if from := c.Sources[key]; from != "" {
			err = fmt.Errorf("%w (set by %s)", err, from)
		}
		p = append(p, err)
	}
	between := func(key string, v, lo, hi int64) {
		if v < lo || v > hi {
			add("%s: %d is outside %d .. %d", key, v, lo, hi)
		}
	}
	if len(c.Name) > 512 {
		add("name: %d bytes, at most 512", len(c.Name))
	}
	if scheme, _, whole := strings.Cut(c.Metadata, "://"); c.UsesStore() && !(whole && slices.Contains(schemes, scheme)) {
		if !whole { // the rest may hold a password, and so may what has no scheme
			scheme = "..."
		}
		add("metadata: %q is neither \"p2p\" nor a URL that begins with %s://", clip(scheme), strings.Join(schemes, "://, "))
	}
	for _, t := range c.Transports {
		if t != "tcp" {
			add("transports: %q is not available in this version; use [\"tcp\"]", t)
		}
	}
	if len(c.Transports) == 0 {
		add("transports: the list is empty; use [\"tcp\"]")
	}
	address := func(key, s string, mayBeEmpty bool) {
		if s == "" && mayBeEmpty {
			return
		}
		if _, err := netaddr.Parse(s); err != nil {
			add("%s: %w", key, err)
		}
	}
	address("listen", c.Listen, false)
	address("data_listen", c.DataListen, true)
	for i, a := range c.Advertise {
		address(fmt.Sprintf("advertise[%d]", i), a, false)
	}
	for i, a := range c.DataAdvertise {
		address(fmt.Sprintf("data_advertise[%d]", i), a, false)
	}
	between("chunk_bytes", int64(c.ChunkBytes), 64<<10, 1<<20)
	between("connections_per_peer", int64(c.ConnectionsPerPeer), 1, 16)
	between("drain_ms", c.DrainMS, 0, 3_600_000)
	between("heartbeat_ms", c.HeartbeatMS, 10, 60_000)
	between("dial_timeout_ms", c.DialTimeoutMS, 10, 600_000)
	between("open_timeout_ms", c.OpenTimeoutMS, 10, 3_600_000)
	between("stall_ms", c.StallMS, 100, 86_400_000)
	between("metadata_cache_ttl_ms", c.CacheTTLMS, 0, 3_600_000)
	between("dereg_grace_ms", c.DeregGraceMS, 0, 3_600_000)
	between("metadata_timeout_ms", c.MetadataTimeoutMS, 10, 600_000)
	between("lease_ttl_ms", c.LeaseTTLMS, 2000, 3_600_000)
	between("lease_renew_ms", c.LeaseRenewMS, 100, 3_600_000)
	between("name_wait_ms", c.NameWaitMS, 0, 3_600_000)
	if c.LeaseTTLMS >= 2000 && 2*c.LeaseRenewMS > c.LeaseTTLMS-1000 {
		add("lease_renew_ms: %d leaves no room for a second try within lease_ttl_ms %d; use at most %d",
			c.LeaseRenewMS, c.LeaseTTLMS, (c.LeaseTTLMS-1000)/2)
	}
	if c.Interop != "" && c.Interop != "mooncake" {
		add("interop: %q is not one of \"\", \"mooncake\"", c.Interop)
	}
	between("max_batches", int64(c.MaxBatches), 1, 1<<24)
	between("max_queued_requests", int64(c.MaxQueuedRequests), 1, 1<<30)
	between("max_peer_bytes_in_flight", c.MaxPeerBytesInFlight, 1<<20, 1<<40)
	between("max_inbound_connections", int64(c.MaxInboundConns), 1, 1<<20)
	between("max_sessions", int64(c.MaxSessions), 1, 1<<20)
	between("max_notify_bytes", int64(c.MaxNotifyBytes), 0, 1<<20)
	between("max_notifications", int64(c.MaxNotifications), 1, 1<<24)
	between("max_grants", int64(c.MaxGrants), 1, 1<<26)
	between("max_allocated_bytes", c.MaxAllocatedBytes, 1, 1<<50)
	given := 0
	for _, f := range []string{c.TLSCert, c.TLSKey, c.TLSCA} {
		if f != "" {
			given++
		}
	}
	if given != 0 && given != 3 {
		add("tls_cert, tls_key and tls_ca go together: %d of 3 are set", given)
	}
	if c.PSK != "" && len(c.PSK) < 16 {
		add("psk: %d bytes, at least 16 are needed", len(c.PSK))
	}
	if !slices.Contains([]string{"debug", "info", "warning", "error", "off"}, c.LogLevel) {
		add("log_level: %q is not one of debug, info, warning, error, off", c.LogLevel)
	}
	return p
}

// Millis turns a setting in milliseconds into a duration.
func Millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
