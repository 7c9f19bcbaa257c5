// Lane i comes i cycles late: a triangle of registers.
module dfc_skew #(
    parameter integer LANES = 4,
    parameter integer WIDTH = 8
) (
    input  wire                   clk,
    input  wire [LANES*WIDTH-1:0] in,
    output wire [LANES*WIDTH-1:0] out
);
  genvar i;
  generate
    for (i = 0; i < LANES; i = i + 1) begin : lane
      dfc_delay #(.CYCLES(i), .WIDTH(WIDTH)) late (.clk(clk), .in(in[i*WIDTH +: WIDTH]), .out(out[i*WIDTH +: WIDTH]));
    end
  endgenerate
endmodule

// The input some cycles later; 0 is a wire.
module dfc_delay #(
    parameter integer CYCLES = 1,
    parameter integer WIDTH = 8
) (
    input  wire             clk,
    input  wire [WIDTH-1:0] in,
    output wire [WIDTH-1:0] out
);
  generate
    if (CYCLES == 0) begin : none
      wire unused = &{1'b0, clk};
      assign out = in;
    end else if (CYCLES == 1) begin : one
      reg [WIDTH-1:0] held;
      always @(posedge clk) held <= in;
      assign out = held;
    end else begin : many
      reg [CYCLES*WIDTH-1:0] held;
      always @(posedge clk) held <= {held[(CYCLES-1)*WIDTH-1:0], in};
      assign out = held[(CYCLES-1)*WIDTH +: WIDTH];
    end
  endgenerate
endmodule
