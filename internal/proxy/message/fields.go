package message

import "unsafe"

// Field is one header field. Name is in lower case.
type Field struct{ Name, Value string }

// Fields is header fields in the order in which they came. The zero value is empty and ready for use; Reset makes it so again and keeps its memory.
type Fields struct {
	list  []Field
	arena []byte // what SetCopy and AddCopy copied; never moved, only replaced by a larger one
}

// keepBytes is how much memory is kept for the copies of the next message: a rare one that is larger takes it anew.
const keepBytes = 16 << 10

// Reset forgets all fields.
func (f *Fields) Reset() {
	clear(f.list)
	f.list, f.arena = f.list[:0], f.arena[:0]
	if cap(f.arena) > keepBytes {
		f.arena = nil
	}
}

// All is the fields as they are; the slice is valid until the next change.
func (f *Fields) All() []Field { return f.list }

// Len is how many fields there are.
func (f *Fields) Len() int { return len(f.list) }

// Get gives the value of the first field of a name, which is in lower case.
func (f *Fields) Get(name string) (value string, ok bool) {
	for i := range f.list {
		if f.list[i].Name == name {
			return f.list[i].Value, true
		}
	}
	return "", false
}

// Add appends a field. The name is in lower case; both strings stay the caller's.
func (f *Fields) Add(name, value string) { f.list = append(f.list, Field{name, value}) }

// Set makes this the only field of the name, in the place of the first one.
func (f *Fields) Set(name, value string) {
	for i := range f.list {
		if f.list[i].Name == name {
			f.list[i].Value = value
			f.delFrom(i+1, name)
			return
		}
	}
	f.Add(name, value)
}

// Del removes every field of the name.
func (f *Fields) Del(name string) { f.delFrom(0, name) }

func (f *Fields) delFrom(from int, name string) {
	kept := f.list[:from]
	for _, field := range f.list[from:] {
		if field.Name != name {
			kept = append(kept, field)
		}
	}
	clear(f.list[len(kept):])
	f.list = kept
}

// Truncate removes what was added since there were n fields.
func (f *Fields) Truncate(n int) {
	clear(f.list[n:])
	f.list = f.list[:n]
}

// DelFunc removes every field for which del is true.
func (f *Fields) DelFunc(del func(Field) bool) {
	kept := f.list[:0]
	for _, field := range f.list {
		if !del(field) {
			kept = append(kept, field)
		}
	}
	clear(f.list[len(kept):])
	f.list = kept
}

// Copy keeps a value until Reset, without an allocation once the arena has grown: for values made on the way, as with strconv.AppendInt.
func (f *Fields) Copy(value []byte) string {
	if len(f.arena)+len(value) > cap(f.arena) {
		f.arena = make([]byte, 0, max(256, 2*cap(f.arena), len(value))) // strings in the old one keep it alive
	}
	start := len(f.arena)
	f.arena = append(f.arena, value...)
	return unsafe.String(unsafe.SliceData(f.arena[start:]), len(value))
}

// Scratch is room to append a value to, which Keep makes a string of: for values written by something that would make a buffer of the caller's
// escape to the heap. Nothing else may be copied in between.
func (f *Fields) Scratch() []byte { return f.Room(64) }

// Room is Scratch for a value of up to n bytes.
func (f *Fields) Room(n int) []byte {
	if cap(f.arena)-len(f.arena) < n {
		f.arena = make([]byte, 0, max(256, 2*cap(f.arena), n))
	}
	return f.arena[len(f.arena):]
}

// Keep keeps a value until Reset that was appended to Scratch.
func (f *Fields) Keep(value []byte) string {
	if len(value) == 0 {
		return ""
	}
	start := len(f.arena)
	if room := f.arena[start:cap(f.arena)]; len(value) <= len(room) && &room[0] == &value[0] {
		f.arena = f.arena[:start+len(value)]
	} // else it outgrew the room and has memory of its own
	return unsafe.String(unsafe.SliceData(value), len(value))
}
