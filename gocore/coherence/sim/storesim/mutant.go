package storesim

// mutant is a mistake that is planted around the machines, to see the simulator find it.
type mutant uint8

const (
	noMutant mutant = iota
	noHeadCompare
	noOwnerCompare
	bindAnyone
	renewBlind
	clockSleeps
	unknownAsFailed
	neverRemade
	numMutants
)

func (m mutant) String() string {
	return [...]string{
		"none", "the store does not compare the head's revision", "the store does not compare the owner",
		"a handshake is answered by anyone", "a renewal does not read the owner key", "the clock stops while the machine sleeps",
		"an unknown outcome is taken for a failure", "a store that went back keeps its ID",
	}[m]
}
