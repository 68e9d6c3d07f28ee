// Package name is the SLIM name: three strings and a 128-bit id.
//
// A name is written organisation/namespace/app. The three components are
// hashed for routing; the strings ride along for people. The id says which
// instance of the app is meant, and [Any] (all ones) means "whichever".
//
//	bob, err := name.Parse("org/ns/bob")   // bob.ID == name.Any
//	one := bob.WithID(name.IDOf("org/ns/bob_T8lGWEI1"))
//
// This is the only package that hashes names. All types are plain comparable
// values, safe for concurrent use.
package name
