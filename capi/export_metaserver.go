package capi

/*
#include "te.h"
*/
import "C"

import (
	"encoding/json"

	"mooncake_te/gocore/metaserver"
)

// servers belong to no engine.
var servers = newTable[metaserver.Server](kindServer)

//export teGoMetadataServerStart
func teGoMetadataServerStart(document *C.char, out *C.te_metadata_server) (rc C.int) {
	const op = "start metadata server"
	defer guard(op, &rc)
	text, err := textIn(op, "options_json", document, maxConfig)
	if err != nil {
		return finish(err)
	}
	options, err := metaserver.ParseOptions([]byte(text))
	if err != nil {
		return finish(err)
	}
	s, err := metaserver.Start(options)
	if err != nil {
		return finish(err)
	}
	h, err := servers.insert(s, 0)
	if err != nil {
		_ = s.Close()
		return finish(err)
	}
	*out = C.te_metadata_server(h)
	return 0
}

//export teGoMetadataServerAddress
func teGoMetadataServerAddress(h C.te_metadata_server, buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "get metadata server address"
	defer guard(op, &rc)
	s, _, v := servers.lookup(uint64(h))
	if err := lookupError(v, op, "metadata server"); err != nil {
		return finish(err)
	}
	text, err := json.Marshal(struct {
		URL     string `json:"url"`
		Address string `json:"address"`
	}{s.URL(), s.Address()})
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

//export teGoMetadataServerStop
func teGoMetadataServerStop(h C.te_metadata_server) (rc C.int) {
	const op = "stop metadata server"
	defer guard(op, &rc)
	s, _, v := servers.remove(uint64(h))
	switch v {
	case live:
		return finish(s.Close())
	case closed:
		return 0
	}
	return finish(lookupError(v, op, "metadata server"))
}
