//go:build !linux

package footprint

func forget() {}
