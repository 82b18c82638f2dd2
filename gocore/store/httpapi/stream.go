package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The kinds of events of a watch (server-sent events: HTML Living Standard, section 9.2). A stream begins with Begin,
// Listed for each name and End of the listing; or, resumed by Last-Event-ID, with the change after that one.
const (
	EventBegin    = "begin"    // Begin
	EventRecord   = "record"   // Record: a part of the listing
	EventListed   = "listed"   // Mark: the listing is complete at this revision
	EventChange   = "change"   // Record
	EventProgress = "progress" // Mark: nothing changed up to this revision
	EventEnd      = "end"      // Reason: the server ends the stream; watch again
)

// Begin opens a listing.
type Begin struct {
	StoreID  string `json:"store_id"`
	Revision uint64 `json:"revision"`
}

// Mark is a revision.
type Mark struct {
	Revision uint64 `json:"revision"`
}

// Reason says why the server ends a stream.
type Reason struct {
	Reason string `json:"reason"`
}

// EventID is what a client sends back as Last-Event-ID: revisions mean something under one store ID only.
func EventID(storeID string, revision uint64) string {
	return storeID + "." + strconv.FormatUint(revision, 10)
}

// ParseEventID reads a Last-Event-ID.
func ParseEventID(id string) (storeID string, revision uint64, ok bool) {
	storeID, number, found := strings.Cut(id, ".")
	revision, err := strconv.ParseUint(number, 10, 64)
	return storeID, revision, found && err == nil && checkStoreID(storeID) == nil
}

// AppendEvent writes one event. The data is one JSON document, so it holds no line feed; the ID may be empty.
func AppendEvent(b []byte, kind, id string, data []byte) []byte {
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(append(append(b, "event: "...), kind...), '\n')
	b = append(append(append(b, "data: "...), data...), '\n')
	return append(b, '\n')
}

// Marshal is json.Marshal of a document of this package, which cannot fail.
func Marshal(document any) []byte {
	text, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("httpapi: %T: %v", document, err))
	}
	return text
}

// Event is one event as it was read.
type Event struct {
	Kind string
	ID   string
	Data []byte // valid until the next call
}

// Reader reads the events of a stream. Memory is bounded by MaxDocument.
type Reader struct {
	in   *bufio.Reader
	data []byte
}

// NewReader reads from a stream.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, 16<<10)} }

// Next returns the next event that has data; io.EOF at a stream's end, io.ErrUnexpectedEOF amid an event.
func (r *Reader) Next() (Event, error) {
	var e Event
	r.data = r.data[:0]
	begun, hasData := false, false
	for {
		line, err := r.line()
		switch {
		case errors.Is(err, io.EOF) && begun:
			return Event{}, io.ErrUnexpectedEOF
		case err != nil:
			return Event{}, err
		}
		if len(line) == 0 {
			if hasData {
				e.Data = r.data
				return e, nil
			}
			e, begun = Event{}, false
			continue
		}
		begun = true
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.Kind = string(value)
		case "id":
			e.ID = string(value)
		case "data":
			if hasData {
				r.data = append(r.data, '\n')
			}
			if len(r.data)+len(value) > MaxDocument {
				return Event{}, errTooLong
			}
			r.data, hasData = append(r.data, value...), true
		}
	}
}

var errTooLong = fmt.Errorf("an event is longer than %d bytes", MaxDocument)

// line returns a line without its end. It is valid until the next call.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := append([]byte(nil), line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long) > MaxDocument {
				return nil, errTooLong
			}
			line, err = r.in.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}
