package lab

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/host/kernel/netns"
)

// The test program stands in for both programs of a lab: with these arguments it is a server that knows only who called, or an agent that
// calls and holds the line. So the lab is tested whole, without the rooms that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[2] == "--config" {
		var err error
		switch os.Args[1] {
		case "server":
			err = standInServer(os.Args[3])
		case "agent":
			err = standInAgent(os.Args[3])
		}
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func readYAML(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(b, v)
}

func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(cert, key)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert}, err
}

func standInServer(file string) error {
	var c serverConfig
	if err := readYAML(file, &c); err != nil {
		return err
	}
	config, err := tlsConfig(c.Publish.CA, c.Publish.Cert, c.Publish.Key)
	if err != nil {
		return err
	}
	var l net.Listener
	if err := netns.Do(c.Publish.Netns, func() (err error) {
		l, err = net.Listen("tcp", c.Publish.Listen)
		return err
	}); err != nil {
		return err
	}
	var mu sync.Mutex
	var names []map[string]any
	var open []net.Conn // a connection that nobody holds is closed when it is collected, and its agent comes again
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				t := tls.Server(conn, config)
				if t.Handshake() != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				open = append(open, t)
				names = append(names, map[string]any{"name": t.ConnectionState().PeerCertificates[0].Subject.CommonName, "connected": true, "generation": 1, "acked": 1})
			}()
		}
	}()
	sock, err := net.Listen("unix", filepath.Join(c.RunDir, "api.sock"))
	if err != nil {
		return err
	}
	return http.Serve(sock, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		json.NewEncoder(w).Encode(map[string]any{"value": names})
	}))
}

func standInAgent(file string) error {
	var c agentConfig
	if err := readYAML(file, &c); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.RunDir, "fail")); err == nil {
		return fmt.Errorf("told to fail")
	}
	config, err := tlsConfig(c.CA, c.Cert, c.Key)
	if err != nil {
		return err
	}
	config.ServerName = c.ServerName
	for range 100 {
		conn, err := tls.Dial("tcp", c.Server, config)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		conn.Read(make([]byte, 1)) // until the server is gone
	}
	return fmt.Errorf("no server at %s", c.Server)
}
