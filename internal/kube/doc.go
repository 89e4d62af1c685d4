// Package kube is where objects come from: an API server that is listed and watched, and a folder of manifests. Both fill the same tables
// of a [store.Store], each as a source of its own. It also makes the client configuration that every component uses.
//
// It never interprets a spec. Of an object it knows kind, namespace and name; it drops what would only cost memory (managedFields,
// kubectl's copy of the applied manifest) and does not pass on edits that change nothing but resourceVersion and generation. An object
// of the folder gets the defaults that an API server would have filled in, so that readers cannot tell where it came from.
//
// # The words
//
//   - [Tables] are the tables of all kinds that weft reads, and [Kind] says how one kind is asked for, decoded and put.
//   - [APIServer] lists and watches kinds. While the API server is away the tables keep what they have.
//   - [Folder] reads manifests and watches them. What it cannot use becomes a finding; the rest is used.
//
// # Specs in protobuf
//
// The specs of Istio's kinds are protobuf messages in JSON, which only protobuf's own functions can read and compare. Such objects are taken in
// as declarations, whose spec is still text, and each is read by itself, whatever its version: into a row of version v1.
//
// # Kinds that come and go
//
// A kind that is not built in may not be installed. It is asked for again every few seconds ([ProbeInterval]) until it is, and counts as
// synced and empty meanwhile. Asking needs no permission beyond that on the kind itself, which watching CustomResourceDefinitions would.
package kube
