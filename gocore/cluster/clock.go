package cluster

import (
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/types"
)

// BootTime is CLOCK_BOOTTIME: leases run out while a machine sleeps, and Go's monotonic clock stands still then.
func BootTime() types.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("cluster: CLOCK_BOOTTIME cannot be read: " + err.Error()) // Linux has it since 2.6.39
	}
	return types.Time(ts.Nano())
}
