package sim

// mutant is a mistake that is planted to see the simulator find it.
type mutant uint8

const (
	noMutant mutant = iota
	ackAtOnce
	freeBeforeFence
	retiredEarly
	tokenStaysGood
	ignoreFloor
	retryAtOnce
	laterWriteGoes
	reuseID
	noFence
	noTargetID
	replyEarly
	splitDescribe
	localFreedEarly
	evictAnyway
	promisePerName
	quarantineIgnored
	checksumIgnored
	cancelClosesPath
	fetchUnpaced
	oneBatchFirst
	numMutants
)

func (m mutant) String() string {
	return [...]string{
		"none", "acknowledges without waiting", "free while a handler is inside a chunk", "RETIRED before the handler left",
		"token of an unaccepted connection stays good", "ignores the floor", "retries a WRITE elsewhere at once",
		"later WRITE goes though RETIRE is unanswered", "reuses an ID", "no state check per chunk",
		"no target instance in the header", "replies before the bytes are applied", "labels states with a later version",
		"frees local memory before local quiet", "forgets promises while a path lives", "promises per name, not per instance",
		"reports memory free that could not be fenced", "ignores a wrong checksum", "a cancel fails what shares its connection",
		"fetches as often as it likes", "serves one batch to its end before the next",
	}[m]
}
