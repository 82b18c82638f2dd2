package pyapi

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../descriptor/testdata/" + name)
	require.NoError(t, err)
	return string(b)
}

func TestDecode(t *testing.T) {
	for name, wants := range map[string][]string{
		"head/full.json":  {`"name":"decode-0"`, `"owner_epoch":"9223372036854775809"`, `"buffer_count":2`},
		"ours/rdma.json":  {`"legacy":false`, `"rkey":[1,4294967295]`, `"protocol":["rdma"]`},
		"stock/rdma.json": {`"legacy":true`, `"instance_id":""`, `"state":"READY"`},
	} {
		text, err := Decode(document(t, name))
		require.NoError(t, err)
		for _, want := range wants {
			require.Contains(t, text, want)
		}
	}
	for _, bad := range []string{"", "{}", "nonsense", `{"format":1,"format_min":1}`, `{"protocol":"tcp"}`, "\xff"} {
		_, err := Decode(bad)
		require.Equal(t, errcode.MetadataInvalid, errcode.Of(err), bad)
	}
}

func TestDiffTakesEveryKindOfDocument(t *testing.T) {
	whole := document(t, "ours/rdma.json")
	shown, err := Decode(whole)
	require.NoError(t, err)
	changed, err := Decode(strings.Replace(whole, `"state":"READY"`, `"state":"DRAINING"`, 1))
	require.NoError(t, err)
	described := `{"name":"decode-0","descriptor":` + changed + `}`
	want := `[{"what":"state","buffer":1,"from":"READY","to":"DRAINING"}]`
	for _, before := range []string{whole, shown} {
		for _, after := range []string{changed, described} {
			text, err := Diff(before, after)
			require.NoError(t, err)
			require.JSONEq(t, want, text)
		}
	}
	text, err := Diff("", document(t, "head/full.json"))
	require.NoError(t, err)
	require.Contains(t, text, `{"what":"buffer_count","from":"","to":"2"}`)
	text, err = Diff(whole, `{"name":"decode-0","descriptor":null}`)
	require.NoError(t, err)
	require.Contains(t, text, `{"what":"buffer","buffer":9,"from":"DRAINING 1 bytes rw *","to":""}`)

	_, err = Diff(whole, "{}")
	require.ErrorContains(t, err, "the second: ")
	require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
	_, err = Diff(`{"descriptor":7}`, whole)
	require.ErrorContains(t, err, "the first: ")
}
