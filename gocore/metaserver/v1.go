package metaserver

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/types"
)

// TTLs that are granted.
const (
	minTTL = 10 * time.Millisecond
	maxTTL = time.Hour
)

// maxStockKey bounds a complete stock key, in bytes.
const maxStockKey = 2048

// fail answers a request that was not carried out.
func (s *Server) fail(w http.ResponseWriter, err error) {
	status, detail := s.status(err)
	answer(w, status, httpapi.Refusal{Detail: detail})
}

func conflict(w http.ResponseWriter, detail string, r *store.Record) {
	record := httpapi.FromRecord(r)
	answer(w, http.StatusConflict, httpapi.Refusal{Detail: detail, Record: &record})
}

// place checks which name of which cluster is meant.
func place(cluster, name string) error {
	if _, err := store.NewKeys(cluster); err != nil || strings.HasSuffix(cluster, "/") {
		return badRequest("cluster %.80q cannot be a cluster's ID", cluster)
	}
	return store.CheckName("", name)
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, httpapi.Info{Server: httpapi.ServerName, Protocol: httpapi.Protocol, Library: types.LibraryVersion})
}

func (s *Server) record(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	cluster, name := query.Get("cluster"), query.Get("name")
	if err := place(cluster, name); err != nil {
		s.fail(w, err)
		return
	}
	answer(w, http.StatusOK, httpapi.FromRecord(s.table.get(cluster, name)))
}

func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	cluster := r.URL.Query().Get("cluster")
	if err := place(cluster, "-"); err != nil {
		s.fail(w, err)
		return
	}
	storeID, revision, documents := s.table.list(cluster)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	out := newStream(w, s.options.times.write)
	head := httpapi.Marshal(httpapi.Begin{StoreID: storeID, Revision: revision})
	out.write(head[:len(head)-1], []byte(`,"records":[`))
	for i, document := range documents {
		if i > 0 {
			out.write([]byte{','})
		}
		out.write(document)
	}
	out.write([]byte("]}\n"))
	_ = out.flush()
}

func (s *Server) acquire(w http.ResponseWriter, r *http.Request) {
	var q httpapi.Acquire
	err := s.document(w, r, httpapi.MaxSmall, &q)
	if err == nil {
		err = place(q.Cluster, q.Name)
	}
	var by types.InstanceID
	if err == nil {
		by, err = types.ParseInstanceID(q.Instance)
	}
	var seen *store.Record
	if err == nil {
		seen, err = q.Takeover.Store(q.Name)
	}
	ttl := time.Duration(q.TTLMillis) * time.Millisecond
	switch {
	case err != nil:
	case by.IsZero():
		err = badRequest("the instance ID is zero")
	case q.TTLMillis > int64(maxTTL/time.Millisecond) || ttl < minTTL:
		err = badRequest("ttl_ms is %d, not %d to %d", q.TTLMillis, minTTL/time.Millisecond, maxTTL/time.Millisecond)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	owner, held, err := s.table.acquire(q.Cluster, q.Name, by, ttl, seen)
	switch {
	case err != nil:
		s.fail(w, err)
	case held != nil:
		conflict(w, "the name is owned, or changed since it was seen", held)
	default:
		answer(w, http.StatusOK, httpapi.Acquired{Owner: *httpapi.FromOwner(owner)})
	}
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	var q httpapi.Publish
	err := s.document(w, r, httpapi.MaxDocument, &q)
	if err == nil {
		err = place(q.Cluster, q.Name)
	}
	var owner store.Owner
	if err == nil {
		owner, err = q.Owner.Store()
	}
	var stock []store.StockKey
	if err == nil {
		stock, err = checkContent(&q)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	revision, lost, err := s.table.publish(q.Cluster, q.Name, owner, store.PublishRequest{Head: q.Head, Last: q.Last, Stock: stock})
	switch {
	case err != nil:
		s.fail(w, err)
	case lost != nil:
		conflict(w, "the owner, the store ID or the head's revision is another", lost)
	default:
		answer(w, http.StatusOK, httpapi.Published{Revision: revision})
	}
}

func checkContent(q *httpapi.Publish) ([]store.StockKey, error) {
	switch {
	case len(q.Head) == 0:
		return nil, badRequest("the head is empty")
	case len(q.Head) > httpapi.MaxHead:
		return nil, &refusal{http.StatusRequestEntityTooLarge, "the head is longer than 64 KiB"}
	case len(q.Stock) > httpapi.MaxStockKeys:
		return nil, badRequest("%d stock keys, at most %d", len(q.Stock), httpapi.MaxStockKeys)
	}
	total := 0
	var stock []store.StockKey
	for _, k := range q.Stock {
		if total += len(k.Value); total > httpapi.MaxStock {
			return nil, &refusal{http.StatusRequestEntityTooLarge, "the stock values are longer than 16 MiB"}
		}
		if !strings.HasPrefix(k.Key, "ram/") && !strings.HasPrefix(k.Key, "rpc_meta/") {
			return nil, badRequest("stock key %.80q begins neither with ram/ nor with rpc_meta/", k.Key)
		}
		if err := checkStockKey(k.Key); err != nil {
			return nil, err
		}
		stock = append(stock, store.StockKey{Key: k.Key, Value: k.Value})
	}
	return stock, nil
}

func checkStockKey(key string) error {
	if len(key) > maxStockKey || !utf8.ValidString(key) {
		return badRequest("the key is longer than %d bytes or not UTF-8", maxStockKey)
	}
	return nil
}

// holder reads the body of renew and release.
func (s *Server) holder(w http.ResponseWriter, r *http.Request) (q httpapi.Holder, owner store.Owner, ok bool) {
	err := s.document(w, r, httpapi.MaxSmall, &q)
	if err == nil {
		err = place(q.Cluster, q.Name)
	}
	if err == nil {
		owner, err = q.Owner.Store()
	}
	if err != nil {
		s.fail(w, err)
		return q, owner, false
	}
	return q, owner, true
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	if q, owner, ok := s.holder(w, r); ok {
		answer(w, http.StatusOK, httpapi.FromRecord(s.table.renew(q.Cluster, q.Name, owner)))
	}
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	if q, owner, ok := s.holder(w, r); ok {
		answer(w, http.StatusOK, httpapi.FromRecord(s.table.release(q.Cluster, q.Name, owner)))
	}
}

func (s *Server) remake(w http.ResponseWriter, r *http.Request) {
	var q httpapi.Remake
	err := s.document(w, r, httpapi.MaxSmall, &q)
	if err == nil {
		err = place(q.Cluster, "-")
	}
	var id string
	if err == nil {
		id, err = s.table.remake(q.Cluster, q.Seen)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	answer(w, http.StatusOK, httpapi.Remade{StoreID: id})
}
