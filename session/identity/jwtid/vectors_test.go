package jwtid

import (
	"errors"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Tokens that the real library of the named release sent, with the key to
// verify them: subject alice-sub, issuer https://issuer.example, audience slim.
// Its app had the id 97cbea59-0979-11ef-c8ba-3ccd1e4a1054.
var realTokens = []struct {
	release   string
	algorithm Algorithm
	key       string
	token     string
}{
	{"slim 2.2.0", HS256, `RMAR4ONUQIIAIEPJZ6BKXI45KSK7FY5J3UFZ2D57LHTCOM3EDG5D`, "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6ImFsaWNlLXN1YiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiYWxpY2Utc3ViIiwiYXVkIjpbInNsaW0iXSwiZXhwIjoxNzk1ODcxMzE2LCJpYXQiOjE3OTU4Njc3MTYsIm5iZiI6MTc5NTg2NzcxNiwicHVia2V5IjoiQkVZLzVpZnJ5a0IzV2F4cnJmWHlIaW0yZnNXcVRpUjBGeWhhOTRHSm1yMWx6eVc2U3BlZGNWK29JLytvNkFveUdGRk8xVy9MYXl2RzRINFFIUzNVMkdRPSJ9.O4ljY5josq33Tt84G5oLxd4H8SqulGOCOBkaicWtGfM"},
	{"slim 2.2.0", ES256, `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEk4SP0zRIGvAnvdy3FBOGjjJQgFSb
juHnYP4nzcQXeXNb3hZd9Q2mz6dhPcYXSTIDEHnT9yyER3ZrMDB69Z0qMQ==
-----END PUBLIC KEY-----
`, "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiIsImtpZCI6ImFsaWNlLXN1YiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiYWxpY2Utc3ViIiwiYXVkIjpbInNsaW0iXSwiZXhwIjoxNzk1ODcxMzE3LCJpYXQiOjE3OTU4Njc3MTcsIm5iZiI6MTc5NTg2NzcxNywicHVia2V5IjoiQlBybmpMUXROUTVvbDZLVnY1N0NtRW02TVk5RnFvK284MlowVTBsUUR3Y1c3VnVkQ3E5VkVJazdHRFAvRXc1SzE0cXJDQXluWFg0KytQR0JvZHZxdVI4PSJ9.auvxFD-dZGeHkZgXqDxc5VCCfy3CmQdipYbxqMm2iBAKcHtkHrDW9v7RzkO1syZoRrF-jHz1iDADzRWz8Qlr3A"},
	{"slim 3.4.6", RS256, `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApyTkgvs91KBNW0+pxFp4
kyOmTtHQN0HuMx75Cww3y9jQxG54CEn5XwRIuEQ+B+pygkpTQVPJqv5xZ6C7XIsk
k2unvTecWfKdB3XQu8oTbhjHBhMcobZznJHWF349ZH9wBsZol8av8UxTXNysROTM
P9pYhwK8ojDzNSZ4J9BfDDKSIvyOm7Sa+dZxByalp5YF1gHzpqqpTWbMuFjmW0S9
V3Vs+grcOxgKPQWEK7flszcVo/4CvzBuGIkfSR2lcNruD6AKLIMvhidA0w3k+6SV
uVwc9cL0gtgM4LPB6F2iktiLax+8HD4XUhutlyoKZywIbYoHvNMlwq7XSex8y6xY
pQIDAQAB
-----END PUBLIC KEY-----
`, "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6ImFsaWNlLXN1YiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiYWxpY2Utc3ViIiwiYXVkIjpbInNsaW0iXSwiZXhwIjoxNzk1ODcxMzE5LCJpYXQiOjE3OTU4Njc3MTksIm5iZiI6MTc5NTg2NzcxOSwicHVia2V5IjoiQkRMblU5VmFtUVJyMkkzVjFjUXFMTHBWbmI2eGpBZUh6dkNjNWlMSnNEb0Jzd0ZzaWtmQWwyNVBOb1MvTUFZMXR5M0o5RURXTUcyOXlVbmRpWTJRRTVvPSJ9.FmxZUXOUyqFJvYZpRz14-u6LCdNDfDE26303sXR70tMpHMrbwjso7bWtKOimztvRVjWDa5zwfZyHN25j6FzuL9QYOuHM1X2EZwMYXT0yFEYfMaleRNy3gPEYDoyaHd-X9AtL2cDB76P4h4T6YjwxhDekthnGeePnptYOUg_WVPJ-w8ngzRjrz39miub6aJY7HN-cXFl_pOf5k_SFbphsoJ8tgVnhKeVPWEA3c6Xn38gga8V2paTXOZqQdvrdJfvE46aq2BPiVuGTOI3fJm-SaNCif01h61YHywN-UWU9KvD3GnrzVO9QjEG3KN9a_nb9m2I5OtKEcgffh8RlHaSIHw"},
	{"slim 3.4.6", ES256, `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwpMDW6IKvAUA9YIqgD6HTrqzLJCN
sAW3wTynUhLE5ZqFuMbFeF2GAPnPewQRJcz/h21ZkLOhJS72lUiglAQ4tg==
-----END PUBLIC KEY-----
`, "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiIsImtpZCI6ImFsaWNlLXN1YiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiYWxpY2Utc3ViIiwiYXVkIjpbInNsaW0iXSwiZXhwIjoxNzk1ODcxMzI0LCJpYXQiOjE3OTU4Njc3MjQsIm5iZiI6MTc5NTg2NzcyNCwicHVia2V5IjoiQkVBUE92TUlxcjlZUzdzMzRxbUNUdFRCcFpuK0NvZjhzWldiNnhTWTFuNGJsZndEU3k5SmJYdmJzQXJUeVRYcVF5QW5hSzloRVd0VjV5QTVFVlArN29zPSJ9.xgUVNvnol0ojvCo8nrzBbQUO6SpTjBAxH5WgxezFuhUUejv-OZjsFIr1Ka1KxjTq_4nb99nvIE9_KeU1LacXhA"},
}

func TestVectorsOfRealApps(t *testing.T) {
	for _, v := range realTokens {
		t.Run(v.release+" "+string(v.algorithm), func(t *testing.T) {
			keys := Key{From: Data([]byte(v.key)), Algorithm: v.algorithm}
			if v.algorithm == HS256 {
				keys.Format = Raw
			}
			decoded, err := jws.Parse(v.token)
			if err != nil {
				t.Fatal(err)
			}
			period, err := decoded.Claims.Period()
			if err != nil {
				t.Fatal(err)
			}
			peers := verifier(t, VerifierConfig{Keys: keys, Issuer: "https://issuer.example", Audience: []string{"slim"}})
			claims, err := peers.Verify(v.token, period.IssuedAt)
			if err != nil {
				t.Fatal(err)
			}
			if claims.Subject != "alice-sub" || len(claims.PublicKey) != 65 || claims.Expires.Sub(claims.IssuedAt) != time.Hour || !period.NotBefore.Equal(period.IssuedAt) {
				t.Errorf("claims %+v", claims)
			}
			if id := name.IDOf(claims.Subject).String(); id != "97cbea59-0979-11ef-c8ba-3ccd1e4a1054" {
				t.Errorf("id %s", id)
			}
			if _, err := peers.Verify(v.token, period.Expires.Add(6*time.Second)); !errors.Is(err, identity.ErrExpired) {
				t.Errorf("after its end: %v", err)
			}
			strict := verifier(t, VerifierConfig{Keys: keys, Issuer: "https://issuer.example"})
			if _, err := strict.Verify(v.token, period.IssuedAt); !errors.Is(err, identity.ErrAudience) {
				t.Errorf("verifier without an audience: %v", err)
			}
		})
	}
}
