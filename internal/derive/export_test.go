package derive

// Remembered is how many members a family's journal holds, gone ones included.
func Remembered[K comparable, V any](fam *Family[K, V]) int {
	fam.q.db.mu.Lock()
	defer fam.q.db.mu.Unlock()
	return len(fam.journal.members)
}

// Cells is how many keys of a space are remembered.
func Cells[K comparable](s *Space[K]) int {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	return len(s.cells)
}
