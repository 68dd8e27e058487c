package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// What one call asks for. Each line of the input is a job, or a list of jobs that run at the same time.
type job struct {
	Stream  bool              `json:"stream"`
	Prompt  string            `json:"prompt"`
	Headers map[string]string `json:"headers"`
	// Without net/http: the answer is read into a buffer on the goroutine's own stack, which moves meanwhile.
	Stack bool `json:"stack"`
	// Of another provider on this machine.
	Port int `json:"port"`
}

// What the client saw of it.
type answer struct {
	Status int    `json:"status"`
	ID     string `json:"id,omitempty"`
	Events int    `json:"events,omitempty"`
	Error  string `json:"error,omitempty"`
}

const host = "api.openai.com"

// Takes jobs until the input ends, and writes an answer for each, in order. Connections are kept from line to line.
func chat(input io.Reader, output io.Writer) error {
	roots, err := standInRoots()
	if err != nil {
		return err
	}
	config := &tls.Config{RootCAs: roots}
	transport := &http.Transport{
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: 128,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if port == "443" {
				address = standIn()
			} else {
				address = "127.0.0.1:" + port
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	if os.Getenv("HTTP2") != "" {
		transport.ForceAttemptHTTP2 = true
	} else {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport}
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<24)
	encoder := json.NewEncoder(output)
	for lines.Scan() {
		jobs, err := parse(lines.Bytes())
		if err != nil {
			return err
		}
		for _, done := range all(client, config, jobs) {
			if err := encoder.Encode(done); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func standIn() string {
	return "127.0.0.1:" + os.Getenv("STAND_IN_PORT")
}

func standInRoots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in SSL_CERT_FILE")
	}
	return roots, nil
}

func parse(line []byte) ([]job, error) {
	if bytes.HasPrefix(bytes.TrimSpace(line), []byte("[")) {
		var jobs []job
		err := json.Unmarshal(line, &jobs)
		return jobs, err
	}
	var one job
	err := json.Unmarshal(line, &one)
	return []job{one}, err
}

func all(client *http.Client, config *tls.Config, jobs []job) []answer {
	answers := make([]answer, len(jobs))
	var running sync.WaitGroup
	for i, todo := range jobs {
		running.Add(1)
		go func(i int, todo job) {
			defer running.Done()
			var err error
			if todo.Stack {
				answers[i], err = callOnTheStack(config, todo)
			} else {
				answers[i], err = call(client, todo)
			}
			if err != nil {
				answers[i].Error = err.Error()
			}
		}(i, todo)
	}
	running.Wait()
	return answers
}

func (todo job) body() ([]byte, error) {
	prompt := todo.Prompt
	if prompt == "" {
		prompt = "hello there"
	}
	body := map[string]interface{}{"model": "gpt-4o-mini", "messages": []interface{}{map[string]interface{}{"role": "user", "content": prompt}}}
	if todo.Stream {
		body["stream"] = true
		body["stream_options"] = map[string]interface{}{"include_usage": true}
	}
	return json.Marshal(body)
}

func call(client *http.Client, todo job) (answer, error) {
	body, err := todo.body()
	if err != nil {
		return answer{}, err
	}
	authority := host
	if todo.Port != 0 {
		authority = fmt.Sprintf("%s:%d", host, todo.Port)
	}
	request, err := http.NewRequest("POST", "https://"+authority+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer sk-test-not-a-real-key")
	for name, value := range todo.Headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	return read(response.StatusCode, todo.Stream, response.Body)
}

func read(status int, stream bool, body io.Reader) (answer, error) {
	done := answer{Status: status}
	if !stream {
		var whole struct {
			ID string `json:"id"`
		}
		text, err := io.ReadAll(body)
		if err == nil {
			err = json.Unmarshal(text, &whole)
		}
		done.ID = whole.ID
		return done, err
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "data: ") {
			continue
		}
		event := strings.TrimPrefix(lines.Text(), "data: ")
		done.Events++
		var chunk struct {
			ID string `json:"id"`
		}
		if json.Unmarshal([]byte(event), &chunk) == nil && chunk.ID != "" {
			done.ID = chunk.ID
		}
	}
	return done, lines.Err()
}

// A connection of its own, without net/http. While the goroutine waits for the answer, the collector shrinks its stack.
func callOnTheStack(config *tls.Config, todo job) (answer, error) {
	body, err := todo.body()
	if err != nil {
		return answer{}, err
	}
	named := config.Clone()
	named.ServerName = host
	connection, err := tls.Dial("tcp", standIn(), named)
	if err != nil {
		return answer{}, err
	}
	defer connection.Close()
	var head strings.Builder
	fmt.Fprintf(&head, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", host, len(body))
	for name, value := range todo.Headers {
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	head.WriteString("Connection: close\r\n\r\n")
	deep(200)
	if _, err := connection.Write(append([]byte(head.String()), body...)); err != nil {
		return answer{}, err
	}
	stop := make(chan struct{})
	defer close(stop)
	go shrinkStacks(stop)
	var whole bytes.Buffer
	for {
		n, err := readOnce(connection, &whole)
		if err == io.EOF || (err == nil && n == 0) {
			break
		}
		if err != nil {
			return answer{}, err
		}
	}
	response, err := http.ReadResponse(bufio.NewReader(&whole), nil)
	if err != nil {
		return answer{}, err
	}
	return read(response.StatusCode, todo.Stream, response.Body)
}

// The buffer does not escape: it lies on this goroutine's stack.
func readOnce(connection *tls.Conn, into *bytes.Buffer) (int, error) {
	var buffer [1024]byte
	deep(100)
	n, err := connection.Read(buffer[:])
	into.Write(buffer[:n])
	return n, err
}

// Makes the stack large for a moment.
func deep(frames int) byte {
	var room [512]byte
	room[frames%len(room)] = byte(frames)
	if frames == 0 {
		return room[0]
	}
	return deep(frames-1) + room[frames%len(room)]
}

func shrinkStacks(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
			runtime.GC()
		}
	}
}
