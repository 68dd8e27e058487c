<?php
// An ordinary PHP program: `chat.php PORT CA_FILE`. Jobs come as JSON, a line each:
// {"via": "curl" | "stream", "stream": bool, "prompt": text, "headers": {}}; one line of JSON goes out for each.

[, $port, $ca] = $argv;
$url = "https://api.openai.com:$port/v1/chat/completions";
$curl = null;

function body(array $job): string
{
    $body = ['model' => 'gpt-4o-mini', 'messages' => [['role' => 'user', 'content' => $job['prompt'] ?? 'Say hello.']]];
    if ($job['stream'] ?? false) {
        $body += ['stream' => true, 'stream_options' => ['include_usage' => true]];
    }
    return json_encode($body);
}

function headers(array $job): array
{
    $headers = ['Content-Type: application/json', 'Authorization: Bearer sk-test-not-a-real-key'];
    foreach ($job['headers'] ?? [] as $name => $value) {
        $headers[] = "$name: $value";
    }
    return $headers;
}

function by_curl(array $job): string
{
    global $curl, $url, $ca;
    $curl ??= curl_init($url);
    $answer = '';
    curl_setopt_array($curl, [
        CURLOPT_CAINFO => $ca,
        CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
        CURLOPT_HTTPHEADER => headers($job),
        CURLOPT_POSTFIELDS => body($job),
        CURLOPT_WRITEFUNCTION => function ($_, string $piece) use (&$answer): int {
            $answer .= $piece;
            return strlen($piece);
        },
    ]);
    if (curl_exec($curl) === false) {
        throw new RuntimeException(curl_error($curl));
    }
    return $answer;
}

function by_stream(array $job): string
{
    global $url, $ca;
    $http = ['method' => 'POST', 'protocol_version' => 1.1, 'header' => headers($job), 'content' => body($job)];
    $answer = file_get_contents($url, false, stream_context_create(['http' => $http, 'ssl' => ['cafile' => $ca]]));
    if ($answer === false) {
        throw new RuntimeException('the stream wrapper failed');
    }
    return $answer;
}

while (($line = fgets(STDIN)) !== false) {
    $job = json_decode($line, true);
    $answer = ($job['via'] ?? 'curl') === 'stream' ? by_stream($job) : by_curl($job);
    preg_match('/"id":"([^"]*)"/', $answer, $id);
    echo json_encode(['id' => $id[1] ?? null]), "\n";
    flush();
}
