package capi

/*
#include "te.h"
*/
import "C"

//export teGoEngineClaim
func teGoEngineClaim(h C.te_engine, takeover C.int32_t, patienceMS, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "claim segment name"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	t, err := e.Claim(takeover != 0, max(millis(int64(patienceMS)), 0), max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}

//export teGoEngineSync
func teGoEngineSync(h C.te_engine, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "sync names"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	t, err := e.Sync(max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}
