package descriptor

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mooncake_te/gocore/errcode"
)

// Caps of the documents in a store, in bytes, checked before anything of one is decoded.
const (
	MaxHeadBytes  = 64 << 10
	MaxStockBytes = 16 << 20
)

// maxDepth bounds how deep a document may nest. What we read nests four deep (a list in the priority matrix of a
// descriptor); the rest is room for fields that we do not know.
const maxDepth = 32

// decodeStrict reads one JSON document of at most the given size into a T. Beyond what the library refuses by itself
// (names twice in one object, invalid UTF-8, numbers that do not fit or have a sign or a fraction, anything behind the
// document) it bounds size and depth. Members that T does not have are skipped, so that documents can grow. Names count
// with their case. Errors are METADATA_INVALID and name the field.
func decodeStrict[T any](kind string, b []byte, most int) (*T, error) {
	if len(b) > most {
		return nil, invalidDocument(kind, fmt.Sprintf("%d bytes, at most %d", len(b), most))
	}
	if deep(b) {
		return nil, invalidDocument(kind, fmt.Sprintf("nests deeper than %d", maxDepth))
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, invalidDocument(kind, explain(err))
	}
	return v, nil
}

// deep reports whether brackets nest beyond maxDepth. What is no JSON at all is left for the decoder to refuse.
func deep(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// explain says where in the document something is wrong and what, in words of JSON rather than of Go.
func explain(err error) string {
	if bad, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("%s, byte %d: %v", field(bad.JSONPointer), bad.ByteOffset, bad.Err)
	}
	bad, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err.Error()
	}
	what := "a JSON " + bad.JSONKind.String() + " cannot stand here"
	if bad.JSONKind == 0 {
		what = "cannot be read"
	}
	if len(bad.JSONValue) > 0 {
		what = fmt.Sprintf("%.60q cannot stand here", bad.JSONValue)
	}
	if bad.Err != nil {
		what += ": " + bad.Err.Error()
	}
	return fmt.Sprintf("%s, byte %d: %s", field(bad.JSONPointer), bad.ByteOffset, what)
}

// field shows a JSON pointer; those of hostile documents can be as long as the document.
func field(p jsontext.Pointer) string {
	if p == "" {
		return "the document"
	}
	return fmt.Sprintf("field %.120q", string(p))
}

func invalidDocument(kind, detail string) error {
	return errcode.New(errcode.MetadataInvalid, "read "+kind, detail).
		WithHint("what was valid before stays in use; see who wrote this and which version it is")
}

// element is what a list holds.
type element interface {
	most() int    // how many a list may hold
	check() error // whether this one can stay
}

// list decodes elements one by one and stops at the first that is wrong or too many, so that what a document can make us
// allocate stays in proportion to its size.
type list[T element] []T

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *list[T]) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	*l = nil
	start, err := from.ReadToken()
	switch {
	case err != nil:
		return err
	case start.Kind() == 'n':
		return nil
	case start.Kind() != '[':
		return fmt.Errorf("a list is wanted")
	}
	for from.PeekKind() != ']' {
		var e T
		if len(*l) == e.most() {
			return fmt.Errorf("more than %d elements", e.most())
		}
		if err := json.UnmarshalDecode(from, &e); err != nil {
			return err
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("element %d: %w", len(*l), err)
		}
		*l = append(*l, e)
	}
	_, err = from.ReadToken()
	return err
}
