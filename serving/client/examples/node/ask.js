// Tells what a Seamline model server sees in pictures, as a catalog system would ask.
//
//   npm ci && node ask.js --server localhost:8500 shirt.jpg shoe.jpg
//
// A picture that cannot be used is named, and the others are answered all the same; the exit status
// is then 1.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { randomUUID } from "node:crypto";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

// A server that is restarting or too busy is asked again after growing pauses, but when it fails
// more often than it answers, gRPC stops asking twice.
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{ service: "tensorflow.serving.PredictionService" }],
      waitForReady: true,
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
  retryThrottling: { maxTokens: 10, tokenRatio: 0.2 },
};

function connect(server) {
  const proto = fileURLToPath(new URL("../tf_serving.proto", import.meta.url));
  const definition = protoLoader.loadSync(proto, { keepCase: true, longs: Number });
  const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
  // grpc.credentials.createSsl(ca, key, certificate) where the server speaks TLS.
  return new PredictionService(server, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    // A model server stands in one's own network, beyond no proxy.
    "grpc.enable_http_proxy": 0,
  });
}

// All pictures in one request. Its signature "tolerant" answers every picture that can be answered;
// "serving_default" would fail the request for one bad picture.
function ask(client, model, pictures, timeoutS) {
  const request = {
    model_spec: { name: model, signature_name: "tolerant" },
    inputs: {
      image_bytes: {
        dtype: "DT_STRING",
        tensor_shape: { dim: [{ size: pictures.length }] },
        string_val: pictures,
      },
    },
  };
  const metadata = new grpc.Metadata();
  // The server logs this id; an API key would be sent as "authorization", "Bearer KEY".
  metadata.set("x-request-id", randomUUID());
  const deadline = Date.now() + 1000 * timeoutS;
  return new Promise((resolve, reject) =>
    client.Predict(request, metadata, { deadline }, (error, response) =>
      error ? reject(error) : resolve(response.outputs),
    ),
  );
}

function texts(outputs, name, count) {
  return counted(name, (outputs[name]?.string_val ?? []).map(String), count);
}

// Numbers, which a server may send one by one or as the bytes of all of them.
function numbers(outputs, name, count) {
  const { float_val = [], tensor_content = Buffer.alloc(0) } = outputs[name] ?? {};
  const packed = Array.from({ length: tensor_content.length / 4 }, (_, i) =>
    tensor_content.readFloatLE(4 * i),
  );
  return counted(name, packed.length ? packed : float_val, count);
}

function counted(name, values, count) {
  if (values.length !== count) {
    throw new Error(`the model gives ${values.length} of "${name}" for ${count} pictures`);
  }
  return values;
}

const { values: options, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string", default: "localhost:8500" },
    model: { type: "string", default: "catalog" },
    timeout: { type: "string", default: "10" },
  },
});

const client = connect(options.server);
try {
  if (!paths.length) throw new Error("name pictures to ask about");
  const pictures = await Promise.all(paths.map((path) => readFile(path)));
  const outputs = await ask(client, options.model, pictures, Number(options.timeout));
  const count = paths.length;
  const status = texts(outputs, "status", count);
  const [category, subcategory] = ["category", "subcategory"].map((level) => ({
    labels: texts(outputs, level, count),
    scores: numbers(outputs, `${level}_score`, count),
    thresholds: numbers(outputs, `${level}_threshold`, count),
  }));
  paths.forEach((path, i) => {
    if (status[i]) {
      console.error(`${path} cannot be used: ${status[i]}`);
      process.exitCode = 1;
      return;
    }
    const sure = category.scores[i] >= category.thresholds[i] ? "" : ", not sure";
    console.log(
      `${path}: ${category.labels[i]} ${category.scores[i].toFixed(2)}${sure}; ` +
        `${subcategory.labels[i]} ${subcategory.scores[i].toFixed(2)}`,
    );
  });
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
