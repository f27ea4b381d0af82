import 'dart:async';
import 'dart:convert';
import 'dart:io';

import 'package:shelf/shelf.dart';
import 'package:shelf/shelf_io.dart' as shelf_io;

/// How long requests under way may take after SIGTERM; ten seconds after it the process is ended.
const Duration finishWithin = Duration(seconds: 8);

const int bodyBytesMax = 64 * 1024;
const int bodyBytesReadMax = 4 * 1024 * 1024;
const int notesMax = 1000;

/// Keeps notes: `GET` and `POST /notes`, `GET` and `DELETE /notes/1`.
Future<void> main() async {
  final port = int.parse(Platform.environment['PORT'] ?? '8080');
  final notes = Notes();
  final handler = const Pipeline()
      .addMiddleware(logRequests())
      .addHandler((request) => answer(request, notes));
  final server = await HttpServer.bind(InternetAddress.anyIPv4, port);

  print('listening on port $port');
  await serve(server, (request) => shelf_io.handleRequest(request, handler));
  exit(0);
}

class Note {
  const Note(this.id, this.text);

  final int id;
  final String text;

  Map<String, Object> toJson() => {'id': id, 'text': text};
}

/// Notes in memory: they last as long as this process, and every instance has its own.
class Notes {
  final Map<int, Note> _kept = {};
  int _lastId = 0;

  bool get isFull => _kept.length >= notesMax;

  List<Note> get all => List.unmodifiable(_kept.values);

  Note? named(int? id) => _kept[id];

  Note add(String text) {
    final note = Note(++_lastId, text);
    _kept[note.id] = note;
    return note;
  }

  bool remove(int? id) => _kept.remove(id) != null;
}

class BodyTooLarge implements Exception {
  const BodyTooLarge();
}

Future<Response> answer(Request request, Notes notes) async {
  final segments = request.url.pathSegments.where((part) => part.isNotEmpty).toList();
  return switch ((request.method, segments)) {
    ('GET', []) => inJson(200, {'notes': 'notes'}),
    ('GET', ['notes']) => inJson(200, {'items': notes.all}),
    ('POST', ['notes']) => await create(request, notes),
    ('GET', ['notes', final id]) => show(notes.named(int.tryParse(id))),
    ('DELETE', ['notes', final id]) => notes.remove(int.tryParse(id)) ? Response(204) : show(null),
    (_, [] || ['notes'] || ['notes', _]) => problem(405, 'This address does not take ${request.method}.'),
    _ => problem(404, 'There is nothing at this address.'),
  };
}

Response show(Note? note) => note == null ? problem(404, 'There is no such note.') : inJson(200, note);

Future<Response> create(Request request, Notes notes) async {
  if (notes.isFull) {
    return problem(409, 'There are $notesMax notes already; delete one.');
  }
  try {
    final Object? body = jsonDecode(await readBody(request));
    if (body case {'text': final String text} when text.isNotEmpty) {
      final note = notes.add(text);
      return inJson(201, note, headers: {'location': 'notes/${note.id}'});
    }
    return problem(422, 'Send {"text": "what to keep"}.');
  } on FormatException {
    return problem(400, 'The body is not JSON in UTF-8.');
  } on BodyTooLarge {
    return problem(413, 'A note has at most $bodyBytesMax bytes.');
  }
}

/// The body as text. What is too long is read on and let go, up to a point: a sender who is cut off hears of no reason.
Future<String> readBody(Request request) async {
  final bytes = BytesBuilder(copy: false);
  var size = 0;
  await for (final chunk in request.read()) {
    size += chunk.length;
    if (size > bodyBytesReadMax) {
      throw const BodyTooLarge();
    }
    if (size <= bodyBytesMax) {
      bytes.add(chunk);
    }
  }
  if (size > bodyBytesMax) {
    throw const BodyTooLarge();
  }
  return utf8.decode(bytes.takeBytes());
}

Response problem(int status, String detail) => inJson(status, {'status': status, 'detail': detail});

Response inJson(int status, Object body, {Map<String, String> headers = const {}}) {
  return Response(
    status,
    body: jsonEncode(body),
    headers: {'content-type': 'application/json; charset=utf-8', ...headers},
  );
}

/// Answers requests until SIGTERM, then waits for those under way.
Future<void> serve(HttpServer server, Future<void> Function(HttpRequest) answer) async {
  final underWay = <Future<void>>{};
  final stopping = ProcessSignal.sigterm.watch().listen((_) => unawaited(server.close()));

  await for (final request in server) {
    final answered = attempt(request, answer);
    underWay.add(answered);
    unawaited(answered.whenComplete(() => underWay.remove(answered)));
  }
  await Future.wait(underWay).timeout(finishWithin, onTimeout: () => const []);
  await stopping.cancel();
}

/// A caller who leaves before the end fails one request, not the server.
Future<void> attempt(HttpRequest request, Future<void> Function(HttpRequest) answer) async {
  try {
    await answer(request);
  } on Exception catch (error) {
    stderr.writeln('${request.method} ${request.uri.path}: $error');
  }
}
