package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mooncake_te/gocore/errcode"
)

// MaxNameLen bounds a segment name in a store, in bytes.
const MaxNameLen = 255

// reserved may not be a cluster ID: the store ID of a cluster called "owner" would lie where a cluster without an ID has
// the owner of a segment called "store_id".
var reserved = []string{"owner", "head", "store_id", "ram", "rpc_meta"}

// Keys lays out one cluster's keys. Ours lie beside those that stock readers know.
type Keys struct{ cluster string }

// NewKeys checks a cluster ID (MC_METADATA_CLUSTER_ID; empty for none).
func NewKeys(cluster string) (Keys, error) {
	cluster = strings.TrimSuffix(cluster, "/")
	if cluster == "" {
		return Keys{}, nil
	}
	err := checkKeyPart(cluster)
	if err == nil && slices.Contains(reserved, cluster) {
		err = errors.New("it is a word of the key layout, so that its keys could be those of a segment")
	}
	if err != nil {
		return Keys{}, errcode.New(errcode.InvalidArgument, "open metadata store",
			fmt.Sprintf("metadata_cluster_id %.80q: %s", cluster, err)).WithHint("use letters, digits, '-', '_' and '.'")
	}
	return Keys{cluster: cluster + "/"}, nil
}

// Ours and Stock are the prefixes of the two layouts.
func (k Keys) Ours() string  { return "mooncake_te/" + k.cluster }
func (k Keys) Stock() string { return "mooncake/" + k.cluster }

// StoreID, Owner and Head are our keys.
func (k Keys) StoreID() string          { return k.Ours() + "store_id" }
func (k Keys) Owner(name string) string { return k.Ours() + "owner/" + name }
func (k Keys) Head(name string) string  { return k.Ours() + "head/" + name }

// RAM is where stock readers look for a segment, RPC for its server's address.
func (k Keys) RAM(name string) string   { return k.Stock() + "ram/" + name }
func (k Keys) RPC(server string) string { return k.Stock() + "rpc_meta/" + server }

// CheckName refuses names that a store cannot carry or that could be taken for another key.
func CheckName(op, name string) error {
	var why string
	switch err := checkKeyPart(name); {
	case name == "":
		why = "it is empty"
	case err != nil:
		why = err.Error()
	default:
		return nil
	}
	return errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("segment name %.80q: %s", name, why)).
		WithHint(fmt.Sprintf("use 1 to %d bytes of printable UTF-8 without '/'", MaxNameLen))
}

func checkKeyPart(s string) error {
	switch {
	case len(s) > MaxNameLen:
		return fmt.Errorf("%d bytes, at most %d", len(s), MaxNameLen)
	case !utf8.ValidString(s):
		return fmt.Errorf("it is not UTF-8")
	case strings.Contains(s, "/"):
		return fmt.Errorf("it contains '/'")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("it contains a control character")
	}
	return nil
}
