# An ordinary Ruby program on net/http: `chat.rb PORT CA_FILE`. Jobs come as JSON, a line each:
# {"stream": bool, "prompt": text, "headers": {}}; one line of JSON goes out for each.

require "json"
require "net/http"

port, ca_file = ARGV
http = Net::HTTP.new("api.openai.com", port.to_i)
http.use_ssl = true
http.ca_file = ca_file
http.keep_alive_timeout = 600

$stdin.each_line do |line|
  job = JSON.parse(line)
  http.start unless http.started?
  request = Net::HTTP::Post.new("/v1/chat/completions", "Content-Type" => "application/json")
  request["Authorization"] = "Bearer sk-test-not-a-real-key"
  (job["headers"] || {}).each { |name, value| request[name] = value }
  body = { model: "gpt-4o-mini", messages: [{ role: "user", content: job["prompt"] || "Say hello." }] }
  body.merge!(stream: true, stream_options: { include_usage: true }) if job["stream"]
  request.body = body.to_json
  answer = +""
  http.request(request) { |response| response.read_body { |piece| answer << piece } }
  $stdout.puts({ id: answer[/"id":"([^"]*)"/, 1] }.to_json)
  $stdout.flush
end
http.finish if http.started?
