/// Opens a function's secrets before it starts: asks AWS Secrets Manager for each as the function's own role, and runs the
/// program with the values in its environment. They are written nowhere.
library;

import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

// Where the secrets are kept, and `NAME=id` for each.
const named = 'DCF_SECRETS';
const endpoint = 'AWS_ENDPOINT_URL_SECRETS_MANAGER';
const attemptsMax = 3;
// Lambda gives a function ten seconds to come up.
const answerTimeMax = Duration(seconds: 3);
const pause = Duration(milliseconds: 100);
const atOnceMax = 10;
const exitUnopened = 78;
const exitNotFound = 127;
const throttled = {'ThrottlingException', 'RequestLimitExceeded', 'InternalServiceError', 'ServiceUnavailable'};

Future<void> main(List<String> command) async {
  final environment = Map.of(Platform.environment);
  try {
    environment.addAll(await opened(environment.remove(named) ?? '', environment));
  } on Unopened catch (problem) {
    stderr.writeln('dcf: $problem');
    await stderr.flush();
    exit(exitUnopened);
  }
  exit(await run(command, environment));
}

/// The program as if it had been started by itself: its output, its exit code, and the signals that it is sent.
Future<int> run(List<String> command, Map<String, String> environment) async {
  Process? program;
  ProcessSignal? early;
  for (final signal in [ProcessSignal.sigterm, ProcessSignal.sigint, ProcessSignal.sighup]) {
    signal.watch().listen((signal) => program == null ? early = signal : program.kill(signal));
  }
  try {
    if (command.isEmpty) throw const FormatException('the image names none');
    program = await Process.start(
      command.first,
      command.sublist(1),
      environment: environment,
      includeParentEnvironment: false,
      mode: ProcessStartMode.inheritStdio,
    );
  } on Exception catch (problem) {
    stderr.writeln('dcf: the program cannot be started: $problem');
    await stderr.flush();
    return exitNotFound;
  }
  // It may have come while the program was being started.
  if (early != null) program.kill(early!);
  final code = await program.exitCode;
  return code < 0 ? 128 - code : code;
}

/// Why a secret was not opened, for the log. It never holds a value.
class Unopened implements Exception {
  Unopened(this.why);
  final String why;

  @override
  String toString() => why;
}

/// An answer or a failure that another attempt may not meet.
class Passing implements Exception {
  Passing(this.why);
  final String why;

  @override
  String toString() => why;
}

/// The values of the secrets, by the names that the program knows them by.
Future<Map<String, String>> opened(String given, Map<String, String> environment) async {
  final [root, ...pairs] = given.split(' ');
  if (pairs.isEmpty) return {};
  final client = HttpClient()
    ..connectionTimeout = answerTimeMax
    ..maxConnectionsPerHost = atOnceMax;
  try {
    final place = Place(environment);
    final found = await Future.wait([
      for (final pair in pairs) valueOf(client, place, pair.split('=').first, '$root${pair.split('=').last}'),
    ]);
    return Map.fromEntries(found);
  } finally {
    client.close(force: true);
  }
}

Future<MapEntry<String, String>> valueOf(HttpClient client, Place place, String name, String id) async {
  for (var attempt = 1; ; attempt++) {
    try {
      return MapEntry(name, await ask(client, place, id).timeout(answerTimeMax));
    } on Unopened catch (problem) {
      throw Unopened('the secret $name cannot be opened: $problem');
    } on Exception catch (problem) {
      if (attempt == attemptsMax) throw Unopened('Secrets Manager does not answer for the secret $name: $problem');
      await Future<void>.delayed(pause * attempt);
    }
  }
}

Future<String> ask(HttpClient client, Place place, String id) async {
  final body = utf8.encode(jsonEncode({'SecretId': id}));
  final request = await client.postUrl(place.address)
    ..contentLength = body.length;
  place.signed(body).forEach(request.headers.set);
  request.add(body);
  final response = await request.close();
  final text = await utf8.decodeStream(response);
  if (response.statusCode >= 500) throw Passing('status ${response.statusCode}');
  final Object? answer;
  try {
    answer = jsonDecode(text);
  } on FormatException {
    throw Passing('its answer cannot be read'); // What was thrown would show a part of it.
  }
  if (answer is! Map) throw Passing('status ${response.statusCode}');
  if (response.statusCode == 200) {
    final value = answer['SecretString'];
    return value is String ? value : throw Unopened('it is no text');
  }
  final code = '${answer['__type']}'.split('#').last;
  final why = '$code: ${answer['message'] ?? answer['Message'] ?? ''}';
  throw throttled.contains(code) ? Passing(why) : Unopened(why);
}

/// Where Secrets Manager is, and as whom it is asked.
class Place {
  Place(Map<String, String> environment)
    : region = environment['AWS_REGION'] ?? '',
      accessKey = environment['AWS_ACCESS_KEY_ID'] ?? '',
      secretKey = environment['AWS_SECRET_ACCESS_KEY'] ?? '',
      token = environment['AWS_SESSION_TOKEN'] ?? '',
      address = addressOf(environment);

  final String region, accessKey, secretKey, token;
  final Uri address;

  static Uri addressOf(Map<String, String> environment) {
    final region = environment['AWS_REGION'] ?? '';
    final domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    final root = Uri.parse(environment[endpoint] ?? 'https://secretsmanager.$region.$domain');
    return root.path.endsWith('/') ? root : root.replace(path: '${root.path}/');
  }

  /// The headers of a request, with its signature: version 4, as the documentation of AWS describes it.
  Map<String, String> signed(List<int> body) {
    final at = DateTime.now().toUtc().toIso8601String().replaceAll(RegExp(r'[-:]|\.\d+'), '');
    final headers = {
      'content-type': 'application/x-amz-json-1.1',
      'host': address.hasPort ? '${address.host}:${address.port}' : address.host,
      'x-amz-date': at,
      if (token.isNotEmpty) 'x-amz-security-token': token,
      'x-amz-target': 'secretsmanager.GetSecretValue',
    };
    final names = headers.keys.join(';');
    final lines = [for (final header in headers.entries) '${header.key}:${header.value}'];
    final canonical = ['POST', address.path, '', ...lines, '', names, hex(sha256(body))].join('\n');
    final scope = [at.substring(0, 8), region, 'secretsmanager', 'aws4_request'];
    final text = ['AWS4-HMAC-SHA256', at, scope.join('/'), hex(sha256(utf8.encode(canonical)))].join('\n');
    var key = utf8.encode('AWS4$secretKey');
    for (final word in scope) {
      key = hmac(key, utf8.encode(word));
    }
    final signature = hex(hmac(key, utf8.encode(text)));
    final credential = '$accessKey/${scope.join('/')}';
    return {
      ...headers,
      'authorization': 'AWS4-HMAC-SHA256 Credential=$credential, SignedHeaders=$names, Signature=$signature',
    };
  }
}

String hex(List<int> bytes) => [for (final byte in bytes) byte.toRadixString(16).padLeft(2, '0')].join();

/// RFC 2104.
Uint8List hmac(List<int> key, List<int> message) {
  final block = Uint8List(64)..setAll(0, key.length > 64 ? sha256(key) : key);
  final inner = sha256([for (final byte in block) byte ^ 0x36, ...message]);
  return sha256([for (final byte in block) byte ^ 0x5c, ...inner]);
}

/// FIPS 180-4.
Uint8List sha256(List<int> message) {
  final padded = Uint8List((message.length + 8) ~/ 64 * 64 + 64)..setAll(0, message);
  padded[message.length] = 0x80;
  final words = ByteData.sublistView(padded)..setUint32(padded.length - 4, message.length * 8);
  final state = Uint32List.fromList(firstState);
  final schedule = Uint32List(64);
  for (var start = 0; start < padded.length; start += 64) {
    for (var i = 0; i < 64; i++) {
      schedule[i] = i < 16 ? words.getUint32(start + 4 * i) : scheduled(schedule, i);
    }
    mix(state, schedule);
  }
  final digest = ByteData(32);
  for (var i = 0; i < 8; i++) {
    digest.setUint32(4 * i, state[i]);
  }
  return digest.buffer.asUint8List();
}

int scheduled(Uint32List w, int i) {
  final a = w[i - 15], b = w[i - 2];
  final low = right(a, 7) ^ right(a, 18) ^ (a >> 3), high = right(b, 17) ^ right(b, 19) ^ (b >> 10);
  return w[i - 16] + low + w[i - 7] + high;
}

void mix(Uint32List state, Uint32List schedule) {
  var [a, b, c, d, e, f, g, h] = state;
  for (var i = 0; i < 64; i++) {
    final choice = (e & f) ^ (~e & 0xffffffff & g), majority = (a & b) ^ (a & c) ^ (b & c);
    final first = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + choice + constants[i] + schedule[i];
    final second = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + majority;
    (h, g, f, e, d, c, b, a) = (g, f, e, (d + first) & 0xffffffff, c, b, a, (first + second) & 0xffffffff);
  }
  for (final (i, value) in [a, b, c, d, e, f, g, h].indexed) {
    state[i] += value;
  }
}

int right(int word, int bits) => (word >> bits) | (word << (32 - bits)) & 0xffffffff;

const firstState = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];
const constants = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];
