package io.github.rerankd.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.rerankd.RerankClient;
import io.github.rerankd.v1.Document;
import io.github.rerankd.v1.RerankRequest;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** Times calls. */
final class Bench {
  private Bench() {}

  static JsonObject run(Map<String, String> given) {
    var texts = IntStream.range(0, 100).mapToObj(n -> Case.document(n, 750) + " " + n).toList();
    var calls = Integer.parseInt(given.get("calls"));
    var times = new JsonObject();
    var rerankd = new JsonArray();
    var floor = new JsonArray();
    times.add("rerankd", rerankd);
    times.add("floor", floor);
    try (var one = RerankClient.create(given.get("rerankd"));
        var other = RerankClient.create(given.get("floor"))) {
      for (var n = 0; n < calls + calls / 10; n++) {
        var first = milliseconds(one, texts);
        var second = milliseconds(other, texts);
        if (n >= calls / 10) {
          rerankd.add(first);
          floor.add(second);
        }
      }
    }
    return times;
  }

  private static double milliseconds(RerankClient client, List<String> texts) {
    var started = System.nanoTime();
    var request = RerankRequest.newBuilder().setQuery("why is the sky blue");
    for (var text : texts) {
      request.addDocuments(Document.newBuilder().setText(text));
    }
    var best = client.rerank(request.build()).getResults(0);
    if (best.getIndex() < 0 || !best.hasRelevanceScore()) {
      throw new IllegalStateException("no score");
    }
    return (System.nanoTime() - started) / 1e6;
  }
}
