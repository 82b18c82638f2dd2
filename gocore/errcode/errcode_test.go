package errcode

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestErrorJSON(t *testing.T) {
	decode := func(err error) (map[string]any, Code) {
		text, code := JSON(err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(text, &m), "%s", text)
		require.NotContains(t, string(text), "\n")
		return m, code
	}
	full := &Error{
		Code: StaleInstance, Op: "submit", Segment: "s", Peer: "p", Device: "d", Path: "x",
		Detail: `a "quoted" <b> & newline` + "\n", Hint: "h", Err: errors.New("below"),
	}
	m, code := decode(fmt.Errorf("outer: %w", full))
	require.Equal(t, StaleInstance, code)
	require.EqualValues(t, StaleInstance, m["code"])
	delete(m, "code")
	require.Equal(t, map[string]any{
		"name": "STALE_INSTANCE", "op": "submit", "segment": "s", "peer": "p", "device": "d", "path": "x",
		"detail": full.Detail + ": below", "hint": "h", "message": "outer: " + full.Error(),
	}, m)

	// One without a code, and one that claims success, are INTERNAL: a failure is never reported as TE_OK.
	m, code = decode(errors.New("plain"))
	require.Equal(t, Internal, code)
	require.Equal(t, "plain", m["detail"])
	_, code = decode(&Error{})
	require.Equal(t, Internal, code)

	m, _ = decode(New(InvalidArgument, "op", strings.Repeat("ä", maxText)))
	require.Less(t, len(m["message"].(string)), maxText+16)
	require.True(t, utf8.ValidString(m["detail"].(string)))
	require.True(t, strings.HasSuffix(m["detail"].(string), " ..."))
}

func TestErrorsCompareByCode(t *testing.T) {
	err := fmt.Errorf("outer: %w", New(Deadline, "READ", "too slow").Wrap(errors.New("below")))
	require.ErrorIs(t, err, &Error{Code: Deadline})
	require.NotErrorIs(t, err, &Error{Code: Stalled})
	require.Equal(t, Deadline, Of(err))
	require.Equal(t, OK, Of(nil))
	require.Equal(t, Internal, Of(errors.New("plain")))
}

func TestErrorTextSaysWhatIsKnown(t *testing.T) {
	e := New(PeerDead, "READ", "no answer").WithHint("refresh")
	e.Segment, e.Peer = "10.0.0.7:1", "abc"
	require.Equal(t, "READ: PEER_DEAD: no answer [segment 10.0.0.7:1] [peer abc] (refresh)", e.Error())
	require.Equal(t, "CODE(-99)", Code(-99).String())
}

// Numbers are part of the ABI: 0 down to the last one without a gap, each with a name of its own.
func TestTableIsDense(t *testing.T) {
	all := All()
	seen := map[string]bool{}
	for i := range len(all) {
		name, ok := all[Code(-i)]
		require.True(t, ok, "code %d", -i)
		require.False(t, seen[name], name)
		seen[name] = true
	}
}
