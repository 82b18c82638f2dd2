package engine

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"
)

// snake renders a struct of the pure machines, which know nothing of JSON, with the kind of keys that every other document
// has: drains_total, not DrainsTotal.
type snake[T any] struct{ Of T }

// MarshalJSON is for encoding/json.
func (s snake[T]) MarshalJSON() ([]byte, error) {
	v := reflect.ValueOf(s.Of)
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		value := v.Field(i).Interface()
		switch t := value.(type) {
		case encoding.TextMarshaler:
		case interface{ String() string }: // states, codes, instance IDs
			if v.Field(i).Kind() != reflect.Int64 && v.Field(i).Kind() != reflect.Uint64 {
				value = t.String()
			}
		}
		out[snakeKey(v.Type().Field(i).Name)] = value
	}
	return json.Marshal(out)
}

// snakeKey turns StoreID into store_id and GetsRunning into gets_running.
func snakeKey(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		starts := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
