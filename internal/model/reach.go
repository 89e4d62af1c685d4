package model

// Reach is whom one object of policy is for, by labels, and what only the workloads themselves can show to be wrong with it.
type Reach struct {
	Namespace string // of the workloads
	Selector  Labels // never ""
	Origin    Origin // of the selector

	Ports         []PortMTLS           // that it says something of besides
	Authorization *AuthorizationPolicy // nil if it is none
}
