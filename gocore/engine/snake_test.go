package engine

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

func TestStatusKeysAreSpelledAlike(t *testing.T) {
	for name, want := range map[string]string{
		"StoreID": "store_id", "GetsRunning": "gets_running", "TTL": "ttl", "Holder": "holder", "UnknownOutcomes": "unknown_outcomes",
	} {
		require.Equal(t, want, snakeKey(name))
	}
	text, err := json.Marshal(snake[coherence.PublisherStats]{coherence.PublisherStats{State: coherence.Owning, Holder: types.InstanceID{1}, Landed: 7}})
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, "OWNING", got["state"])
	require.Equal(t, types.InstanceID{1}.String(), got["holder"])
	require.EqualValues(t, 7, got["landed"])
	for key := range got {
		require.Equal(t, snakeKey(key), key)
	}
}
