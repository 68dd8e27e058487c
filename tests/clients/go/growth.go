package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"io"
	"math/big"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pairs = 8
	// An echo is a write and a read of either end at least.
	callsOfAnEcho = 4
	headBytes     = 20
	mostBytes     = 3000
)

var table = crc64.MakeTable(crc64.ECMA)

// Clients and servers of one process talk over loopback, each message from a goroutine of its own whose stack grows inside the calls.
// `run N` makes calls until there are N more, and says how many there were; everything that arrives is checked.
func growth(input io.Reader, output io.Writer) error {
	debug.SetGCPercent(10)
	clients, err := connected()
	if err != nil {
		return err
	}
	fmt.Fprintln(output, "ready")
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		wanted, err := strconv.ParseInt(strings.TrimPrefix(lines.Text(), "run "), 10, 64)
		if err != nil {
			return err
		}
		calls, err := echoes(clients, wanted)
		if err != nil {
			return err
		}
		fmt.Fprintln(output, "calls", calls)
	}
	return lines.Err()
}

func echoes(clients []*tls.Conn, wanted int64) (int64, error) {
	var calls int64
	failed := make(chan error, len(clients))
	var running sync.WaitGroup
	for seed, client := range clients {
		running.Add(1)
		go func(seed int, client *tls.Conn) {
			defer running.Done()
			for number := uint64(seed); atomic.LoadInt64(&calls) < wanted; number += pairs {
				done := make(chan error)
				// A new goroutine has the smallest stack there is.
				go func(number uint64) {
					done <- below(int(number%37), func() error { return echo(client, number) })
				}(number)
				if err := <-done; err != nil {
					failed <- err
					return
				}
				atomic.AddInt64(&calls, callsOfAnEcho)
			}
		}(seed, client)
	}
	running.Wait()
	close(failed)
	return atomic.LoadInt64(&calls), <-failed
}

// Calls from that many frames further down, so that growth happens now before the call, now at its entry, now inside.
func below(frames int, call func() error) error {
	var room [96]byte
	room[frames] = byte(frames)
	if frames == 0 {
		return call()
	}
	err := below(frames-1, call)
	if room[frames] != byte(frames) {
		return fmt.Errorf("a stack was damaged")
	}
	return err
}

func echo(client *tls.Conn, number uint64) error {
	length := headBytes + int(number*2654435761%(mostBytes-headBytes))
	message := make([]byte, length)
	for i := headBytes; i < length; i++ {
		message[i] = byte(number + uint64(i)*7)
	}
	binary.LittleEndian.PutUint32(message, uint32(length))
	binary.LittleEndian.PutUint64(message[4:], number)
	binary.LittleEndian.PutUint64(message[12:], crc64.Checksum(message[headBytes:], table))
	if n, err := client.Write(message); n != length || err != nil {
		return fmt.Errorf("write %d of %d: %w", n, length, err)
	}
	var back [mostBytes]byte
	if _, err := receive(client, &back); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(back[4:]); got != number {
		return fmt.Errorf("message %d came back as %d", number, got)
	}
	return nil
}

// One message, checked.
func receive(from *tls.Conn, into *[mostBytes]byte) (int, error) {
	have, want := 0, headBytes
	for have < want {
		n, err := from.Read(into[have:want])
		if err != nil {
			return 0, err
		}
		have += n
		if have == headBytes {
			want = int(binary.LittleEndian.Uint32(into[:]))
			if want < headBytes || want > mostBytes {
				return 0, fmt.Errorf("a length of %d", want)
			}
		}
	}
	if crc64.Checksum(into[headBytes:have], table) != binary.LittleEndian.Uint64(into[12:]) {
		return 0, fmt.Errorf("the checksum is wrong")
	}
	return have, nil
}

func serve(connection *tls.Conn) {
	for number := 0; ; number++ {
		done := make(chan error)
		go func(number int) {
			done <- below((number*7)%37, func() error {
				var message [mostBytes]byte
				length, err := receive(connection, &message)
				if err == nil {
					_, err = connection.Write(message[:length])
				}
				return err
			})
		}(number)
		if <-done != nil {
			connection.Close()
			return
		}
	}
}

func connected() ([]*tls.Conn, error) {
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection.(*tls.Conn))
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	clients := make([]*tls.Conn, pairs)
	for i := range clients {
		clients[i], err = tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			return nil, err
		}
	}
	return clients, nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
