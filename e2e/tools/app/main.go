// Command app is the application that releases are made of in tests on a real node: an HTTP server that behaves as its
// environment says.
//
//	VERSION      what it calls itself in answers and metrics
//	LISTEN       address, :8080 if not set
//	LATENCY_MS   how long an answer takes
//	ERROR_RATE   share of answers with status 500, from 0 to 1
//	MEMORY_MB    memory to take at the start
//	CPU_SHARE    share of a core to keep busy, from 0 to 1
//	CRASH_AFTER  when to exit with 1, as a duration such as 5s
//	READY_AFTER  when to become ready
//	DRAIN        how long to go on serving after SIGTERM, not ready any more
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// How long answers under way may take once the server shuts down.
const shutdownDeadline = 10 * time.Second

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds | log.LUTC)
	settings, err := readSettings()
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("version %s on %s", settings.version, settings.listen)
	held := takeMemory(settings.memoryMB)
	go keepBusy(settings.cpuShare)
	if settings.crashAfter > 0 {
		time.AfterFunc(settings.crashAfter, func() { log.Fatal("crashing, as CRASH_AFTER says") })
	}
	if err := serve(newServer(settings)); err != nil {
		log.Fatal(err)
	}
	log.Printf("ended, with %d MB held", len(held)>>20)
}

func serve(s *server) error {
	asked, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener := &http.Server{Addr: s.listen, Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- listener.ListenAndServe() }()
	becomeReady := time.AfterFunc(s.readyAfter, func() { s.ready.Store(true) })
	select {
	case err := <-failed:
		return err
	case <-asked.Done():
	}
	becomeReady.Stop()
	s.ready.Store(false)
	// Requests keep coming until everybody has heard that this pod is going.
	log.Printf("asked to end: serving for another %s", s.drain)
	time.Sleep(s.drain)
	deadline, cancel := context.WithTimeout(context.Background(), shutdownDeadline)
	defer cancel()
	if err := listener.Shutdown(deadline); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// keepBusy reckons for such a share of each tenth of a second.
func keepBusy(share float64) {
	const slice = 100 * time.Millisecond
	busy := time.Duration(share * float64(slice))
	if busy <= 0 {
		return
	}
	for started := range time.Tick(slice) {
		for time.Since(started) < busy {
		}
	}
}

// takeMemory writes to every page, since memory that was never written to is not there.
func takeMemory(megabytes int) []byte {
	memory := make([]byte, megabytes<<20)
	for page := 0; page < len(memory); page += os.Getpagesize() {
		memory[page] = 1
	}
	return memory
}
