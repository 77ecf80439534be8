// Package secret makes client secrets and the hashes that are kept of them.
//
// In: secrets. Out: hashes that nobody can turn back, and whether a secret is the one of a hash. intent/identity keeps the hashes.
package secret

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Secrets are kept as PBKDF2-HMAC-SHA-256 (RFC 8018) with a salt of their own.
const (
	hashScheme     = "pbkdf2-sha256"
	hashIterations = 100_000
	hashLength     = 32
	saltLength     = 16
	mostIterations = 10_000_000 // of a hash that somebody else made: a check must stay affordable
)

// New is a random client secret of 256 bits.
func New() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Hash is how a secret is stored: nobody can turn it back.
func Hash(secret string) string {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails
	return fmt.Sprintf("%s$%d$%s$%s", hashScheme, hashIterations, text64(salt), text64(stretch(secret, salt, hashIterations)))
}

func stretch(secret string, salt []byte, iterations int) []byte {
	key, err := pbkdf2.Key(sha256.New, secret, salt, iterations, hashLength)
	if err != nil {
		panic(err) // lengths are constant; only a FIPS policy refuses, and then nobody may get in
	}
	return key
}

func text64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// Check says what is wrong with a stored hash.
func Check(hash string) error {
	_, _, _, err := splitHash(hash)
	return err
}

func splitHash(hash string) (salt, key []byte, iterations int, err error) {
	p := strings.Split(hash, "$")
	if len(p) != 4 || p[0] != hashScheme {
		return nil, nil, 0, fmt.Errorf("secret hash: %s$ITERATIONS$SALT$KEY expected", hashScheme)
	}
	iterations, err = strconv.Atoi(p[1])
	if err != nil || iterations < 1 || iterations > mostIterations {
		return nil, nil, 0, fmt.Errorf("secret hash: iterations %q: 1 to %d expected", p[1], mostIterations)
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(p[2])
	key, keyErr := base64.RawStdEncoding.DecodeString(p[3])
	if saltErr != nil || keyErr != nil || len(key) != hashLength || len(salt) < 8 {
		return nil, nil, 0, fmt.Errorf("secret hash: a salt of 8 bytes or more and a key of %d in base64 without padding expected", hashLength)
	}
	return salt, key, iterations, nil
}

// Matches compares a secret with a hash; it takes the same time whatever the difference.
func Matches(hash, secret string) bool {
	salt, key, iterations, err := splitHash(hash)
	return err == nil && subtle.ConstantTimeCompare(stretch(secret, salt, iterations), key) == 1
}
