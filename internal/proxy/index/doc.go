// Package index is what a sidecar knows of its mesh: every Service by name and address, and who runs at the addresses that it asked about, from the small
// resources of package meshpb.
//
// It owns finding the Service behind a destination or a Host, with short names made out as a Pod's resolver would, and who runs at an address. Thousands
// of each cost little: Services are kept in a compact form, workloads as the bytes that came. It fetches nothing, and forgets nothing that it was not
// told to forget.
package index
