package credential

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// kept is a credential as it is in its file.
type kept struct {
	Key, Chain, Roots string
	Since             time.Time
}

// keep puts a credential into the file in place of the one there, as a whole: a process that dies leaves the old one or the new one.
func (s *Source) keep(c *Credential) error {
	if s.o.File == "" {
		return nil
	}
	text, err := json.Marshal(kept{string(c.Key), string(c.Chain), string(c.given), c.Since})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.o.File), filepath.Base(s.o.File)+".*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.o.File)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// restore takes up what the container before has left, if it holds still.
func (s *Source) restore() {
	if s.o.File == "" {
		return
	}
	text, err := os.ReadFile(s.o.File)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var k kept
	if err == nil {
		if json.Unmarshal(text, &k) != nil { // whose error might show what is in it
			err = errors.New("it is damaged")
		}
	}
	var c *Credential
	if err == nil {
		c, err = made([]byte(k.Key), []byte(k.Chain), []byte(k.Roots), k.Since, time.Now(), s.o.Namespace, s.o.ServiceAccount)
	}
	if err != nil {
		s.log.Warn("the certificate of the container before is left out", "file", s.o.File, "error", err)
		return
	}
	s.set(c)
	s.log.Info("the certificate of the container before is used", "identity", c.Identity(), "until", c.Leaf.NotAfter)
}
