package capi

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// constants reads the enumerators of te.h.
func constants(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("te.h")
	require.NoError(t, err)
	out := map[string]int{}
	for _, m := range regexp.MustCompile(`\b(TE_[A-Z0-9_]+) = (-?[0-9]+)`).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		require.NotContains(t, out, m[1])
		out[m[1]] = n
	}
	return out
}

// te.h and gocore/errcode hold the same table, no code more on either side.
func TestErrorTableOfHeader(t *testing.T) {
	header := map[errcode.Code]string{}
	for name, n := range constants(t) {
		if name == "TE_OK" || strings.HasPrefix(name, "TE_E_") {
			header[errcode.Code(n)] = strings.TrimPrefix(strings.TrimPrefix(name, "TE_E_"), "TE_")
		}
	}
	require.Equal(t, errcode.All(), header)
}

func TestConstantsOfHeader(t *testing.T) {
	got := constants(t)
	for name := range got {
		if name == "TE_OK" || strings.HasPrefix(name, "TE_E_") {
			delete(got, name)
		}
	}
	require.Equal(t, map[string]int{
		"TE_READ": int(types.Read), "TE_WRITE": int(types.Write),
		"TE_CLASS_LATENCY": int(types.Latency), "TE_CLASS_BULK": int(types.Bulk),
		"TE_PERM_READ": int(types.PermRead), "TE_PERM_WRITE": int(types.PermWrite),
		"TE_REMOTE_NONE": int(types.RemoteNone), "TE_REMOTE_ALL": int(types.RemoteAll),
		"TE_REMOTE_GRANTS": int(types.RemoteGrants),
		"TE_PENDING":       int(types.Pending), "TE_COMPLETED": int(types.Completed),
		"TE_NOT_APPLIED": int(types.NotApplied), "TE_UNKNOWN": int(types.Unknown), "TE_PARTIAL": int(types.Partial),
		"TE_BATCH_CRC_OFF": 1, "TE_BATCH_CRC_ON": 2,
	}, got)
}

// Every function of te.h stands in te.c behind the fork guard, but for the two that a forked child may call.
func TestEveryFunctionIsGuarded(t *testing.T) {
	header, err := os.ReadFile("te.h")
	require.NoError(t, err)
	source, err := os.ReadFile("te.c")
	require.NoError(t, err)
	declared := regexp.MustCompile(`(?m)^(?:int|uint32_t) (te_\w+)\(`).FindAllStringSubmatch(string(header), -1)
	require.GreaterOrEqual(t, len(declared), 30)
	for _, m := range declared {
		_, body, found := strings.Cut(string(source), " "+m[1]+"(")
		require.True(t, found, "%s is not defined in te.c", m[1])
		body, _, found = strings.Cut(body, "\n\n/*")
		if i := strings.Index(body, "\n}\n"); i >= 0 {
			body, found = body[:i], true
		}
		require.True(t, found)
		unguarded := m[1] == "te_abi_version" || m[1] == "te_last_error"
		require.Equal(t, !unguarded, strings.Contains(body, "GUARD("), m[1])
	}
}
