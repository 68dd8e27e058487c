// A C++ program that has OpenSSL linked in: `static_openssl PORT SERVER_NAME CA_FILE`. Each line on standard input is a job; one that
// holds `"stream":true` asks for a stream. One line of JSON goes out for each: {"id": ...}. All go over one connection.
#include <arpa/inet.h>
#include <iostream>
#include <memory>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace {

class Connection {
public:
    Connection(int port, const std::string &name, const char *ca_file)
        : context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), fd(socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(static_cast<uint16_t>(port));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd < 0 || connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof to)) throw std::runtime_error("cannot connect");
        if (SSL_CTX_load_verify_locations(context.get(), ca_file, nullptr) != 1) throw std::runtime_error("cannot load the CA file");
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
        ssl.reset(SSL_new(context.get()));
        if (SSL_set_tlsext_host_name(ssl.get(), name.c_str()) != 1 || SSL_set1_host(ssl.get(), name.c_str()) != 1)
            throw std::runtime_error("cannot set the server name");
        if (SSL_set_fd(ssl.get(), fd) != 1 || SSL_connect(ssl.get()) != 1) throw std::runtime_error("handshake");
    }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;
    ~Connection() {
        SSL_shutdown(ssl.get());
        close(fd);
    }

    void write(const std::string &bytes) {
        if (SSL_write(ssl.get(), bytes.data(), static_cast<int>(bytes.size())) != static_cast<int>(bytes.size()))
            throw std::runtime_error("SSL_write");
    }

    // A whole answer, of a stated length or in chunks.
    std::string answer() {
        std::string bytes;
        for (;;) {
            const auto head = bytes.find("\r\n\r\n");
            if (head != std::string::npos) {
                const auto at = bytes.find("content-length: ");
                if (at < head) {
                    if (bytes.size() >= head + 4 + std::stoul(bytes.substr(at + 16))) return bytes;
                } else if (bytes.size() >= 5 && bytes.compare(bytes.size() - 5, 5, "0\r\n\r\n") == 0) {
                    return bytes;
                }
            }
            char piece[16384];
            const int got = SSL_read(ssl.get(), piece, sizeof piece);
            if (got <= 0) throw std::runtime_error("SSL_read");
            bytes.append(piece, static_cast<size_t>(got));
        }
    }

private:
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context;
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl{nullptr, SSL_free};
    int fd;
};

std::string request(const std::string &host, bool stream) {
    std::string body = R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello."}])";
    if (stream) body += R"(,"stream":true,"stream_options":{"include_usage":true})";
    body += "}";
    return "POST /v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" +
           "Authorization: Bearer sk-test-not-a-real-key\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::cerr << "usage: static_openssl PORT SERVER_NAME CA_FILE\n";
        return 1;
    }
    try {
        std::unique_ptr<Connection> connection;
        std::string line;
        while (std::getline(std::cin, line)) {
            if (!connection) connection = std::make_unique<Connection>(std::stoi(argv[1]), argv[2], argv[3]);
            connection->write(request(argv[2], line.find("\"stream\":true") != std::string::npos));
            const std::string answer = connection->answer(), mark = "\"id\":\"";
            const auto at = answer.find(mark);
            if (at == std::string::npos) throw std::runtime_error("an answer without an id: " + answer);
            const auto from = at + mark.size();
            std::cout << "{\"id\":\"" << answer.substr(from, answer.find('"', from) - from) << "\"}" << std::endl;
        }
    } catch (const std::exception &error) {
        std::cerr << "static_openssl: " << error.what() << "\n";
        ERR_print_errors_fp(stderr);
        return 1;
    }
}
