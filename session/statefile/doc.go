// Package statefile is one encrypted file that keeps named records across
// restarts.
//
//	f, err := statefile.Open("app.state", key) // 32 random bytes or more
//	defer f.Close()
//	err = f.Read(func(name string, value []byte) error { ... })
//	err = f.Write(map[string][]byte{"a": value, "b": nil}) // b is deleted
//
// It knows nothing of what the records mean, starts no goroutine, and lets one
// process at a time have a file open. A File is safe for concurrent use.
//
// # What is on the disk
//
// The file is a bbolt database. A record lies under the HMAC-SHA-256 of its name;
// name and value are sealed with AES-256-GCM. Each Open draws a salt, and HKDF-
// SHA-256 makes a key of its own from it, under which nonces count up: no pair of
// key and nonce occurs twice, also not after a crash or on a copy of the file. A
// sealed sum over all records, replaced together with them, makes records that
// vanish or come back noticed.
//
// [File.Write] returns after fsync; concurrent calls share one. If the process or
// the machine stops in between, the file has all of a Write or nothing of it.
//
// # What somebody with the disk can do
//
// Without the key, nobody can read a name or a value, nor alter, add, exchange or
// remove single records, nor put back an older copy of one: Open or Read fail with
// [ErrDamaged]. What can be seen is how many records there are, how long each is,
// and which of them changed when. The file can be destroyed, of course.
//
// What nobody can notice without a trusted counter elsewhere: the whole file
// replaced by an older copy of itself, from a backup, a snapshot, or by a disk that
// lost acknowledged writes. State of sessions that comes back this way may use
// keys a second time that were used already. Never restore such a file; delete it.
// The same holds for a virtual machine that is resumed twice from one snapshot of
// its memory.
//
// Deleted and replaced records remain in free pages until those are used again,
// and disks keep old blocks: whoever gets the key and the file, or old copies of
// it, may read them. There is no forward secrecy against them. The file grows to
// the most it ever held and does not shrink.
//
// # Damage
//
// bbolt trusts its file: a damaged one could make it panic, use up memory, or end
// the process by a memory fault. So Open first reads the whole structure of the
// file with checks of its own, and refuses a file that bbolt would not have left
// behind. What happens to the file later, while it is open, cannot be checked: if
// the disk cannot read it any more, or somebody truncates it, the memory fault
// becomes [ErrDamaged], every later call fails, and the file may stay locked until
// the process ends. If somebody writes to it in spite of the lock, there is no
// promise that the process survives.
//
// # Keys in memory
//
// Close overwrites the keys that the File holds. What the standard library derived
// of them, and copies that the runtime made, stay until memory is used again.
package statefile
