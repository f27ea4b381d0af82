import 'dart:async';
import 'dart:convert';
import 'dart:io';

import 'package:shelf/shelf.dart';
import 'package:shelf/shelf_io.dart' as shelf_io;

const int bodyBytesMax = 64 * 1024;
const int notesMax = 1000;

/// Keeps notes: `GET` and `POST /notes`, `GET` and `DELETE /notes/1`.
Future<void> main() async {
  final port = int.parse(Platform.environment['PORT'] ?? '8080');
  final notes = Notes();
  final handler = const Pipeline()
      .addMiddleware(logRequests())
      .addHandler((request) => answer(request, notes));
  final server = await shelf_io.serve(handler, InternetAddress.anyIPv4, port);

  stopOnSignal(server);
  print('listening on port $port');
}

/// Takes no new requests after SIGTERM, lets those under way finish, and ends the program.
void stopOnSignal(HttpServer server) {
  ProcessSignal.sigterm.watch().listen((_) async {
    await Future.any<void>([server.close(), Future<void>.delayed(const Duration(seconds: 5))]);
    exit(0);
  });
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
    ('GET', []) => json(200, {'notes': 'notes'}),
    ('GET', ['notes']) => json(200, {'items': notes.all}),
    ('POST', ['notes']) => await create(request, notes),
    ('GET', ['notes', final id]) => show(notes.named(int.tryParse(id))),
    ('DELETE', ['notes', final id]) => notes.remove(int.tryParse(id)) ? Response(204) : show(null),
    (_, [] || ['notes'] || ['notes', _]) => problem(405, 'This address does not take ${request.method}.'),
    _ => problem(404, 'There is nothing at this address.'),
  };
}

Response show(Note? note) => note == null ? problem(404, 'There is no such note.') : json(200, note);

Future<Response> create(Request request, Notes notes) async {
  if (notes.isFull) {
    return problem(409, 'There are $notesMax notes already; delete one.');
  }
  try {
    final Object? body = jsonDecode(await readBody(request));
    if (body case {'text': final String text} when text.isNotEmpty) {
      final note = notes.add(text);
      return json(201, note, headers: {'location': 'notes/${note.id}'});
    }
    return problem(422, 'Send {"text": "what to keep"}.');
  } on FormatException {
    return problem(400, 'The body is not JSON in UTF-8.');
  } on BodyTooLarge {
    return problem(413, 'A note has at most $bodyBytesMax bytes.');
  }
}

Future<String> readBody(Request request) async {
  final bytes = <int>[];
  await for (final chunk in request.read()) {
    if (bytes.length + chunk.length > bodyBytesMax) {
      throw const BodyTooLarge();
    }
    bytes.addAll(chunk);
  }
  return utf8.decode(bytes);
}

Response problem(int status, String detail) => json(status, {'status': status, 'detail': detail});

Response json(int status, Object body, {Map<String, String> headers = const {}}) {
  return Response(
    status,
    body: jsonEncode(body),
    headers: {'content-type': 'application/json; charset=utf-8', ...headers},
  );
}
