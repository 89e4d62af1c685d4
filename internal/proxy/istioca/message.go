package istioca

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Request is an IstioCertificateRequest.
type Request struct {
	// CSR is a certificate request in PEM.
	CSR string
	// ValiditySeconds is for how long the certificate is wanted; 0 leaves it to the server.
	ValiditySeconds int64
	// Metadata is what the client says beside; nil is nothing.
	Metadata *structpb.Struct
}

// Response is an IstioCertificateResponse.
type Response struct {
	// Chain is certificates in PEM: that of the client first, then those between it and the root, and the roots together as the last element.
	Chain []string
}

// Numbers of the fields, in security/v1alpha1/ca.proto of Istio's API.
const (
	csrField, validityField, metadataField protowire.Number = 1, 3, 4
	chainField                             protowire.Number = 1
)

// Marshal gives the message as bytes.
func (r *Request) Marshal() ([]byte, error) {
	var b []byte
	if r.CSR != "" {
		b = protowire.AppendString(protowire.AppendTag(b, csrField, protowire.BytesType), r.CSR)
	}
	if r.ValiditySeconds != 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, validityField, protowire.VarintType), uint64(r.ValiditySeconds))
	}
	if r.Metadata != nil {
		m, err := proto.Marshal(r.Metadata)
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		b = protowire.AppendBytes(protowire.AppendTag(b, metadataField, protowire.BytesType), m)
	}
	return b, nil
}

// Unmarshal reads a message. Fields that are not known are left out, as protobuf wants it.
func (r *Request) Unmarshal(b []byte) error {
	*r = Request{}
	return fields(b, func(number protowire.Number, value []byte, varint uint64) (err error) {
		switch {
		case number == csrField && value != nil:
			r.CSR, err = text("csr", value)
		case number == validityField && value == nil:
			r.ValiditySeconds = int64(varint)
		case number == metadataField && value != nil:
			if r.Metadata == nil {
				r.Metadata = &structpb.Struct{}
			}
			if err = (proto.UnmarshalOptions{Merge: true}).Unmarshal(value, r.Metadata); err != nil {
				err = fmt.Errorf("metadata: %w", err)
			}
		}
		return err
	})
}

// Marshal gives the message as bytes.
func (r *Response) Marshal() []byte {
	var b []byte
	for _, c := range r.Chain {
		b = protowire.AppendString(protowire.AppendTag(b, chainField, protowire.BytesType), c)
	}
	return b
}

// Unmarshal reads a message. Fields that are not known are left out, as protobuf wants it.
func (r *Response) Unmarshal(b []byte) error {
	*r = Response{}
	return fields(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number != chainField || value == nil {
			return nil
		}
		c, err := text("cert_chain", value)
		r.Chain = append(r.Chain, c)
		return err
	})
}

// fields calls f for each field of a message that is a varint, or bytes of any kind; value is nil for the former.
func fields(b []byte, f func(number protowire.Number, value []byte, varint uint64) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("no message: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var value []byte
		var varint uint64
		switch kind {
		case protowire.VarintType:
			varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			if value, n = protowire.ConsumeBytes(b); n >= 0 && value == nil {
				value = []byte{}
			}
		default:
			if n = protowire.ConsumeFieldValue(number, kind, b); n >= 0 {
				b = b[n:]
				continue
			}
		}
		if n < 0 {
			return fmt.Errorf("no message: field %d: %w", number, protowire.ParseError(n))
		}
		b = b[n:]
		if err := f(number, value, varint); err != nil {
			return err
		}
	}
	return nil
}

func text(field string, b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%s: %w", field, errNotText)
	}
	return string(b), nil
}

var errNotText = errors.New("it is no UTF-8")
