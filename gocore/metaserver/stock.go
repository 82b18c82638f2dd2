package metaserver

import (
	"bytes"
	"net/http"
	"strings"

	"mooncake_te/gocore/store/httpapi"
)

// stock answers stock clients as the servers do that come with Mooncake (research of its wire: docs/metadata-server.md):
// GET, PUT and DELETE of ?key=, 404 for what is not there, texts as answers. The one difference is that a PUT of
// rpc_meta with the value that lies there already succeeds, so that a client may repeat it.
func (s *Server) stock(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimSpace(r.URL.Query().Get("key"))
	if key == "" {
		say(w, http.StatusBadRequest, "metadata key is required")
		return
	}
	if err := checkStockKey(key); err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	switch r.Method {
	case http.MethodGet:
		data, ok := s.table.getStock(key)
		if !ok {
			say(w, http.StatusNotFound, "metadata not found")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(data)
	case http.MethodPut:
		data, err := s.body(w, r, httpapi.MaxStock)
		if err == nil {
			err = s.table.putStock(key, data, func(present []byte) error {
				if strings.Contains(key, "rpc_meta") && !bytes.Equal(present, data) {
					return badRequest("Duplicate rpc_meta key not allowed")
				}
				return nil
			})
		}
		if err != nil {
			status, detail := s.status(err)
			say(w, status, detail)
			return
		}
		say(w, http.StatusOK, "metadata updated")
	case http.MethodDelete:
		if !s.table.deleteStock(key) {
			say(w, http.StatusNotFound, "metadata not found")
			return
		}
		say(w, http.StatusOK, "metadata deleted")
	default:
		w.Header().Set("Allow", "GET, PUT, DELETE")
		say(w, http.StatusMethodNotAllowed, "Method not allowed")
	}
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json") // as stock servers do
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
