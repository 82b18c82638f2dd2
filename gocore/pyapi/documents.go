package pyapi

import (
	"encoding/json"
	"fmt"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
)

// Decode shows a document out of a store, a head or a stock descriptor, as Describe shows it.
func Decode(document string) (text string, err error) {
	defer recovered("decode document", &err)
	if kindOf(document) == headDocument {
		h, err := descriptor.DecodeHead([]byte(document))
		if err != nil {
			return "", err
		}
		return encode(descriptor.ShowHead(h, false))
	}
	d, legacy, err := descriptor.DecodeStock("", []byte(document))
	if err != nil {
		return "", err
	}
	return encode(descriptor.Show(d, legacy))
}

// Diff lists what changed between two descriptors: each the answer of Describe, of Decode, an element of List, or a
// document out of a store; "" for none.
func Diff(before, after string) (text string, err error) {
	defer recovered("compare descriptors", &err)
	a, err := read(before)
	if err != nil {
		return "", fmt.Errorf("the first: %w", err)
	}
	b, err := read(after)
	if err != nil {
		return "", fmt.Errorf("the second: %w", err)
	}
	return encode(descriptor.Diff(a, b))
}

func read(document string) (*descriptor.Descriptor, error) {
	switch kindOf(document) {
	case noDocument:
		return nil, nil
	case headDocument:
		h, err := descriptor.DecodeHead([]byte(document))
		if err != nil {
			return nil, err
		}
		return &descriptor.Descriptor{Head: *h}, nil
	case stockDocument:
		d, _, err := descriptor.DecodeStock("", []byte(document))
		return d, err
	case description:
		var d struct {
			Descriptor json.RawMessage `json:"descriptor"`
		}
		if err := json.Unmarshal([]byte(document), &d); err != nil {
			return nil, err
		}
		if string(d.Descriptor) == "null" {
			return nil, nil
		}
		return descriptor.DecodeShown(d.Descriptor)
	}
	return descriptor.DecodeShown([]byte(document))
}

// documentKind is what a text seems to be; the decoder of that kind decides.
type documentKind uint8

const (
	noDocument documentKind = iota
	headDocument
	stockDocument
	description
	shownDescriptor
)

func kindOf(document string) documentKind {
	if document == "" {
		return noDocument
	}
	var members struct {
		Format     json.RawMessage `json:"format"`
		Protocol   json.RawMessage `json:"protocol"`
		Descriptor json.RawMessage `json:"descriptor"`
	}
	_ = json.Unmarshal([]byte(document), &members) // what is no JSON is for a decoder to refuse
	switch {
	case members.Descriptor != nil:
		return description
	case members.Format != nil:
		return headDocument
	case members.Protocol != nil:
		return stockDocument
	}
	return shownDescriptor
}

// recovered makes a panic an error.
func recovered(op string, err *error) {
	if r := recover(); r != nil {
		*err = errcode.New(errcode.Internal, op, fmt.Sprintf("panic: %v", r)).WithHint("please report this")
	}
}
