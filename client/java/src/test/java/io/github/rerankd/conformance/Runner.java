package io.github.rerankd.conformance;

import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Collectors;

/** The runner of the Java client: see tests/clients/README.md. */
public final class Runner {
  private Runner() {}

  /** Runs {@code golden PATH NAME=VALUE...} or {@code bench NAME=VALUE...}. */
  public static void main(String[] arguments) throws IOException {
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8); // whatever the locale
    var given = given(arguments);
    switch (arguments[0]) {
      case "golden" -> {
        var file = JsonParser.parseString(Files.readString(Path.of(arguments[1])));
        for (var each : file.getAsJsonObject().getAsJsonArray("cases")) {
          new Case(each.getAsJsonObject(), given, out).perform();
        }
      }
      case "bench" -> out.println(Bench.run(given));
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static Map<String, String> given(String[] arguments) {
    return Arrays.stream(arguments)
        .map(each -> each.split("=", 2))
        .filter(pair -> pair.length == 2)
        .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
  }
}
