// Package identity is who is who inside the mesh: the certificate authority, weft's own or that of who runs the cluster, the tokens by which workloads prove
// which Pod they are, the certificates they are given for them, and the roots that everybody is told of.
//
// It never believes what a client says of itself, and never lets a key leave the process or the Secret that it is kept in.
package identity
