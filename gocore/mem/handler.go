package mem

/*
#cgo LDFLAGS: -ldl
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

static char mte_mem_anchor;

// The handler's address, 0 for the default action, 1 for "ignored", -1 if it cannot be asked.
static intptr_t mte_mem_handler(int sig) {
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	if (sigaction(sig, NULL, &sa) != 0)
		return -1;
	return (intptr_t)(sa.sa_flags & SA_SIGINFO ? (void *)sa.sa_sigaction : (void *)sa.sa_handler);
}

// Whether addr lies in the object that this code lies in; *name gets the other object's file if it does not.
static int mte_mem_ours(intptr_t addr, const char **name) {
	Dl_info theirs, ours;
	*name = "memory of no known object";
	if (!dladdr(&mte_mem_anchor, &ours))
		return -1;
	if (!dladdr((void *)addr, &theirs))
		return 0;
	*name = theirs.dli_fname;
	return theirs.dli_fbase == ours.dli_fbase;
}

// A function that certainly lies in another object.
static intptr_t mte_mem_libc(void) { return (intptr_t)dlsym(RTLD_DEFAULT, "strtol"); }
*/
import "C"

import (
	"fmt"
	"syscall"
)

// FaultHandlerIntact reports whether Go's handlers of SIGSEGV and SIGBUS are still the ones installed, and if not, why.
// Whoever installs its own after this library was loaded (Python's faulthandler.enable, some crash reporters) takes the
// faults away: memory unmapped by its owner then ends the process instead of giving MEMORY_FAULT.
func FaultHandlerIntact() (bool, string) {
	for _, sig := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS} {
		addr := C.mte_mem_handler(C.int(sig))
		switch addr {
		case -1:
			return false, fmt.Sprintf("the handler of %v cannot be asked for", sig)
		case 0:
			return false, fmt.Sprintf("%v has its default action", sig)
		case 1:
			return false, fmt.Sprintf("%v is ignored", sig)
		}
		var name *C.char
		switch C.mte_mem_ours(addr, &name) {
		case 1:
		case -1:
			return false, "the loader does not know the object of this code"
		default:
			return false, fmt.Sprintf("the handler of %v lies in %s", sig, C.GoString(name))
		}
	}
	return true, ""
}

// libcFunction is an address in another object than ours, for the test.
func libcFunction() uint64 { return uint64(C.mte_mem_libc()) }
