package httpapi

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReader reads any bytes as a stream: it ends, with an error that says how, and what was written comes back.
func FuzzReader(f *testing.F) {
	f.Add([]byte("id: 1\nevent: change\ndata: {}\n\n: note\n\ndata: a\ndata: b\r\n\r\nevent: x\n\n"))
	f.Add(AppendEvent(nil, EventChange, EventID("0123456789abcdef0123456789abcdef", 7), []byte(`{"name":"x"}`)))
	f.Add([]byte("data"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		for {
			e, err := r.Next()
			if err != nil {
				require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				return
			}
			require.LessOrEqual(t, len(e.Data), len(stream))
			if bytes.ContainsAny(e.Data, "\n\r") || bytes.ContainsAny([]byte(e.Kind+e.ID), "\r") {
				continue
			}
			again, err := NewReader(bytes.NewReader(AppendEvent(nil, e.Kind, e.ID, e.Data))).Next()
			require.NoError(t, err)
			require.Equal(t, e.Kind, again.Kind)
			require.Equal(t, e.ID, again.ID)
			require.True(t, bytes.Equal(e.Data, again.Data))
		}
	})
}

// FuzzRecord decodes any document as a record: what passes is a record that a store may say.
func FuzzRecord(f *testing.F) {
	const id = "0123456789abcdef0123456789abcdef"
	f.Add([]byte(`{"name":"x","store_id":"` + id + `","revision":3,"owner":{"instance":"` + id + `","store_id":"` + id + `","epoch":2},"head":"aA==","head_revision":3}`))
	f.Add([]byte(`{"name":"x","store_id":"` + id + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var document Record
		if Decode(text, &document) != nil {
			return
		}
		r, err := document.Store()
		if err != nil {
			return
		}
		require.Equal(t, r.Head != nil, r.HeadRevision != 0)
		require.Equal(t, r.Owner.Owned(), r.Owner.Epoch != 0)
		again := FromRecord(r)
		back, err := again.Store()
		require.NoError(t, err)
		require.Equal(t, r.Owner, back.Owner)
		require.Equal(t, r.Name, back.Name)
	})
}
