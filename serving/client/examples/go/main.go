// Command ask tells what a Seamline model server sees in pictures, as a catalog system would ask.
//
//	go run . -server localhost:8500 shirt.jpg shoe.jpg
//
// A picture that cannot be used is named, and the others are answered all the same; the exit status
// is then 1. The code in tfserving is made from ../tf_serving.proto; see the comment above ask.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"seamline.example/ask/tfserving"
)

// A server that is restarting or too busy is asked again after growing pauses, but when it fails
// more often than it answers, gRPC stops asking twice.
const serviceConfig = `{
  "methodConfig": [{
    "name": [{"service": "tensorflow.serving.PredictionService"}],
    "waitForReady": true,
    "retryPolicy": {
      "maxAttempts": 5,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.2}
}`

const maxMessageBytes = 64 << 20

type answer struct {
	category, subcategory           string
	categoryScore, subcategoryScore float32
	// Whether the score reaches the model's own threshold.
	categoryKnown bool
	// Why the picture could not be used; empty if it could.
	refused string
}

//go:generate protoc -I.. --go_out=. --go_opt=module=seamline.example/ask --go-grpc_out=. --go-grpc_opt=module=seamline.example/ask ../tf_serving.proto

// ask sends all pictures in one request. Its signature "tolerant" answers every picture that can be
// answered; "serving_default" would fail the request for one bad picture.
func ask(ctx context.Context, client tfserving.PredictionServiceClient, model string, pictures [][]byte) ([]answer, error) {
	response, err := client.Predict(ctx, &tfserving.PredictRequest{
		ModelSpec: &tfserving.ModelSpec{Name: model, SignatureName: "tolerant"},
		Inputs: map[string]*tfserving.Tensor{"image_bytes": {
			Dtype: tfserving.DataType_DT_STRING,
			TensorShape: &tfserving.TensorShape{
				Dim: []*tfserving.TensorShape_Dim{{Size: int64(len(pictures))}},
			},
			StringVal: pictures,
		}},
	})
	if err != nil {
		return nil, err
	}
	texts := func(name string) [][]byte { return response.Outputs[name].GetStringVal() }
	numbers := func(name string) []float32 { return floats(response.Outputs[name]) }
	answers := make([]answer, len(pictures))
	for _, name := range []string{"status", "category", "subcategory"} {
		if len(texts(name)) != len(pictures) {
			return nil, fmt.Errorf("the model gives %d of %q for %d pictures", len(texts(name)), name, len(pictures))
		}
	}
	for _, name := range []string{"category_score", "category_threshold", "subcategory_score"} {
		if len(numbers(name)) != len(pictures) {
			return nil, fmt.Errorf("the model gives %d of %q for %d pictures", len(numbers(name)), name, len(pictures))
		}
	}
	for i := range answers {
		answers[i] = answer{
			category:         string(texts("category")[i]),
			categoryScore:    numbers("category_score")[i],
			categoryKnown:    numbers("category_score")[i] >= numbers("category_threshold")[i],
			subcategory:      string(texts("subcategory")[i]),
			subcategoryScore: numbers("subcategory_score")[i],
			refused:          string(texts("status")[i]),
		}
	}
	return answers, nil
}

// floats reads numbers, which a server may send one by one or as the bytes of all of them.
func floats(tensor *tfserving.Tensor) []float32 {
	content := tensor.GetTensorContent()
	if len(content) == 0 {
		return tensor.GetFloatVal()
	}
	values := make([]float32, len(content)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(content[4*i:]))
	}
	return values
}

func run() error {
	server := flag.String("server", "localhost:8500", "host:port of the server's gRPC")
	model := flag.String("model", "catalog", "name of the served model")
	timeout := flag.Duration("timeout", 10*time.Second, "how long to wait, with all retries")
	flag.Parse()
	if flag.NArg() == 0 {
		return fmt.Errorf("name pictures to ask about")
	}
	var pictures [][]byte
	for _, path := range flag.Args() {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pictures = append(pictures, content)
	}
	connection, err := grpc.NewClient(*server,
		// credentials.NewClientTLSFromFile(...) where the server speaks TLS.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		// A model server stands in one's own network, beyond no proxy.
		grpc.WithNoProxy(),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	// The server logs this id; an API key would be sent as "authorization", "Bearer KEY".
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", fmt.Sprintf("ask-%d", time.Now().UnixNano()))
	answers, err := ask(ctx, tfserving.NewPredictionServiceClient(connection), *model, pictures)
	if err != nil {
		return err
	}
	refused := 0
	for i, one := range answers {
		if one.refused != "" {
			refused++
			fmt.Fprintf(os.Stderr, "%s cannot be used: %s\n", flag.Arg(i), one.refused)
			continue
		}
		sure := ""
		if !one.categoryKnown {
			sure = ", not sure"
		}
		fmt.Printf("%s: %s %.2f%s; %s %.2f\n", flag.Arg(i),
			one.category, one.categoryScore, sure, one.subcategory, one.subcategoryScore)
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d pictures were refused", refused, len(answers))
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
