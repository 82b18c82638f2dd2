package descriptor

// Newer reports whether a is newer than b. Comparable is false when nothing can be said: then only a handshake with
// the instance itself tells who is present, and a must not be adopted in place of b on its own word.
//
// Under one store ID the order is (epoch, version). Under different ones, or with none (peer to peer), only heads of
// the same instance compare, by version. Two instances with one store ID and one epoch: the store went back
// unnoticed, and nothing is comparable either.
func Newer(a, b *Head) (newer, comparable bool) {
	sameStore := a.StoreID != "" && a.StoreID == b.StoreID
	switch {
	case sameStore && a.Epoch != b.Epoch:
		return a.Epoch > b.Epoch, true
	case a.Instance == b.Instance:
		return a.Version > b.Version, true
	}
	return false, false
}
