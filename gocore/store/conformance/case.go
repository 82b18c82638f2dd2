// Package conformance is the one suite of tests that every store runs against its real server: the contract of
// gocore/store, case by case. Every store runs every case. Where a store lacks a capability (Info().Caps), the case
// checks the lesser behaviour that docs/stores.md promises instead, so that a skip cannot hide anything; what a server
// cannot be made to do (nil hooks) is listed in docs/stores.md as well.
//
// It is test code that lies in ordinary files because the tests of several packages call it.
package conformance

import (
	"testing"
	"time"

	"mooncake_te/gocore/store"
)

// Case is one server and the ways to reach and to hurt it.
type Case struct {
	// Open makes a client of the server for a cluster; the suite closes it.
	Open func(t testing.TB, cluster string) store.Store
	// Linked makes one whose network the test can break.
	Linked func(t testing.TB, cluster string) (store.Store, Link)
	// TTL is the shortest lease that the server really keeps; what needs an expiry waits so long.
	TTL time.Duration
	// MaxStock is how many bytes of stock keys the server takes at once; 0: as many as any store, store.MaxStock.
	MaxStock int
	// Advance moves the server's clock; nil: time passes by itself.
	Advance func(d time.Duration)
	Server  Server
}

// Link breaks the network between one client and the server; netfault.Proxy is one for servers that speak TCP.
type Link interface {
	Cut()         // ends connections and refuses new ones
	HoldAnswers() // requests arrive, answers do not
	Silence()     // nothing arrives, connections stay
	Heal()
}

// Server is what tests can do to the server itself, for all its clients. Nil: it cannot be done.
type Server struct {
	Restart func(t testing.TB) // ends it at once (kill -9) and starts it again with what it kept
	// Forgets: nothing survives a restart; owners publish again.
	Forgets bool
	Wipe    func(t testing.TB)                            // it comes back empty
	Save    func(t testing.TB) (restore func(testing.TB)) // a snapshot, and how to go back to it
	Compact func(t testing.TB)                            // it forgets how it came to be as it is
	// PutStock writes a stock key as a stock engine does.
	PutStock func(t testing.TB, cluster, key string, value []byte)
	// PutOurs writes any value under any of our keys, as a broken or hostile program may.
	PutOurs func(t testing.TB, key string, value []byte)
}

// Run runs all cases. Those that restart, wipe or restore the server come last; none runs beside another.
func Run(t *testing.T, c Case) {
	for _, one := range cases {
		t.Run(one.name, func(t *testing.T) { one.run(newFixture(t, c)) })
	}
}

var cases = []struct {
	name string
	run  func(*fixture)
}{
	{"info", testInfo},
	{"acquire/free name", testAcquireFree},
	{"acquire/owned", testAcquireOwned},
	{"acquire/again by its owner", testAcquireAgain},
	{"acquire/deletes the head", testAcquireDeletesHead},
	{"acquire/one of many", testAcquireRace},
	{"acquire/epochs grow", testEpochsGrow},
	{"acquire/bad requests", testAcquireBad},
	{"takeover", testTakeover},
	{"takeover/stale record", testTakeoverStale},
	{"takeover/nobody left", testTakeoverNobody},
	{"publish/heads replace each other", testPublish},
	{"publish/not the owner", testPublishNotOwner},
	{"publish/one of many", testPublishRace},
	{"publish/large and odd heads", testPublishSizes},
	{"publish/stock copy", testPublishStock},
	{"get/nothing there", testGetNothing},
	{"get/legacy segment", testGetLegacy},
	{"get/unreadable", testGetUnreadable},
	{"renew", testRenew},
	{"release", testRelease},
	{"release/not the owner", testReleaseNotOwner},
	{"expiry/all in one step", testExpiry},
	{"expiry/renewed", testRenewedLives},
	{"expiry/zombie", testZombie},
	{"watch/listing, then changes in order", testWatchOrder},
	{"watch/many names", testWatchMany},
	{"watch/progress", testWatchProgress},
	{"watch/ends with its context", testWatchContext},
	{"watch/cut", testWatchCut},
	{"watch/silence", testWatchSilence},
	{"watch/compaction", testWatchCompaction},
	{"names/odd", testNamesOdd},
	{"names/refused", testNamesRefused},
	{"clusters", testClusters},
	{"random against a model", testRandom},
	{"broken/unknown publish", testUnknownPublish},
	{"broken/unknown acquire", testUnknownAcquire},
	{"broken/not sent", testNotSent},
	{"broken/silent server", testSilentServer},
	{"close", testClose},
	{"store ID/remake", testRemake},
	{"store ID/remake at once", testRemakeRace},
	{"store ID/publish under the old one", testPublishOldStoreID},
	{"server/restart", testRestart},
	{"server/restored from a snapshot", testRestored},
	{"server/wiped", testWiped},
}
