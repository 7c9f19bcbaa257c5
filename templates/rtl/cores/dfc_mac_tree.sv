// Adder trees: WIDTH multipliers over k feed one tree, TREES of them stand side by side over n.
//
// A fold is a chunk of at most WIDTH by TREES weights and at most HOLD rows of the input, a row per cycle. The chunk's
// weights come in one line with the first row and are held for the others. Sums stay in HOLD accumulators per tree over
// the chunks of k, and leave with the last one; a k in several tiles is added to what is in memory.
//
// A row goes when it has passed a port of X_BITS per cycle, the first of a chunk when its weights have passed one of
// W_BITS, which is for a HOLD of 1; 0 is as wide as a line.
// Registers from the ports to the sum in memory: operands, products, a level of the tree each, and the sum; STAGES
// above 2 come after the tree. `active` is high from the first operand on a port to the last sum in memory.
module dfc_mac_tree #(
    parameter integer WIDTH = 4,
    parameter integer TREES = 4,
    parameter integer HOLD = 1,
    parameter integer STAGES = 2,
    parameter integer X_BITS = 0, W_BITS = 0,
    parameter integer OPERAND_BITS = 8,
    parameter integer ACC_BITS = 32,
    parameter integer AW = 24,
    parameter integer SW = 20
) (
    input  wire                                clk,
    input  wire                                rst,
    input  wire                                fold_valid,
    output wire                                fold_take,
    input  wire [AW-1:0]                       fold_x,      // lines of WIDTH inputs, one per m
    input  wire [AW-1:0]                       fold_w,      // a line of TREES times WIDTH weights
    input  wire [AW-1:0]                       fold_y,      // lines of TREES sums, one per m
    input  wire [SW-1:0]                       fold_m,
    input  wire [7:0]                          opcode,
    input  wire [7:0]                          amount,
    input  wire [SW-1:0]                       fold_n,
    input  wire [SW-1:0]                       fold_k,
    input  wire                                fold_begin,
    input  wire                                fold_open,
    input  wire                                fold_close,
    input  wire                                fold_last,
    output wire                                active,
    output wire                                done,
    output wire                                x_read,
    output wire [AW-1:0]                       x_addr,
    input  wire [WIDTH*OPERAND_BITS-1:0]       x_data,
    output wire                                w_read,
    output wire [AW-1:0]                       w_addr,
    input  wire [TREES*WIDTH*OPERAND_BITS-1:0] w_data,
    output wire [TREES-1:0]                    y_read,
    output wire [TREES*AW-1:0]                 y_raddr,
    input  wire [TREES*ACC_BITS-1:0]           y_rdata,
    output wire [TREES-1:0]                    y_write,
    output wire [TREES*AW-1:0]                 y_waddr,
    output wire [TREES*ACC_BITS-1:0]           y_wdata
);
  localparam integer B = OPERAND_BITS, A = ACC_BITS;
  localparam integer LEVELS = WIDTH > 1 ? $clog2(WIDTH) : 0;
  localparam integer LEAVES = 1 << LEVELS;
  localparam integer TAIL = LEVELS + STAGES;

  // ---- what happens in a cycle; addresses go out, and operands are there in the next one
  reg [SW-1:0] row, tail;               // of the fold; cycles until the last sum is in memory
  reg running;                          // the last row has not been read yet
  reg carried;                          // an earlier tile of k left sums in memory
  wire x_ready, w_ready;
  wire goes = running && x_ready && w_ready;
  wire ends = tail == {{(SW-1){1'b0}}, 1'b1};
  assign fold_take = goes && row == fold_m - 1'b1;
  assign x_read = goes;
  assign x_addr = fold_x + {{(AW-SW){1'b0}}, row};
  assign w_read = goes && row == {SW{1'b0}};
  assign w_addr = fold_w;
  wire [31:0] x_need = {{(32-SW){1'b0}}, fold_k} * B[31:0];
  wire [31:0] w_need = row == {SW{1'b0}} ? x_need * {{(32-SW){1'b0}}, fold_n} : 32'd0;
  dfc_pace #(.BITS(X_BITS)) x_pace (
      .clk(clk), .restart(!running || fold_take), .need(x_need), .take(goes), .ready(x_ready));
  dfc_pace #(.BITS(W_BITS)) w_pace (
      .clk(clk), .restart(!running || fold_take), .need(w_need), .take(goes), .ready(w_ready));
  always @(posedge clk) begin
    if (!running && tail == {SW{1'b0}} && fold_valid) running <= 1'b1;
    if (tail != {SW{1'b0}}) tail <= tail - 1'b1;
    row <= !running || fold_take ? {SW{1'b0}} : goes ? row + 1'b1 : row;
    if (fold_take && fold_last) begin
      running <= 1'b0;
      tail <= TAIL[SW-1:0];
    end
    if (fold_open && running) carried <= !fold_begin;
    if (rst) begin
      running <= 1'b0;
      tail <= {SW{1'b0}};
    end
  end
  reg active_q, ends_q;
  always @(posedge clk) {active_q, ends_q} <= {(running || tail != {SW{1'b0}}) && !rst, ends && !rst};
  assign active = active_q;
  wire unused = &{1'b0, opcode, amount};
  assign done = ends_q;

  // ---- operands, products, sums
  reg first_q, held_q;
  reg [SW-1:0] k_q;
  always @(posedge clk) {held_q, first_q, k_q} <= {goes, w_read, fold_k};
  reg [WIDTH*B-1:0] x;
  reg [TREES*WIDTH*B-1:0] w;
  reg [TREES*LEAVES*A-1:0] product;
  integer tree, lane;
  always @(posedge clk) begin
    if (held_q) x <= x_data;
    for (tree = 0; tree < TREES; tree = tree + 1)
      for (lane = 0; lane < WIDTH; lane = lane + 1)
        if (first_q) w[(tree*WIDTH + lane)*B +: B] <=
            lane[SW-1:0] < k_q ? w_data[(tree*WIDTH + lane)*B +: B] : {B{1'b0}};
  end
  integer pt, pl;
  always @(posedge clk)
    for (pt = 0; pt < TREES; pt = pt + 1)
      for (pl = 0; pl < LEAVES; pl = pl + 1)
        product[(pt*LEAVES + pl)*A +: A] <=
            pl >= WIDTH ? {A{1'b0}}
            : dfc_product($signed(x[(pl % WIDTH)*B +: B]), $signed(w[(pt*WIDTH + pl % WIDTH)*B +: B]));
  function automatic [A-1:0] dfc_product(input signed [B-1:0] one, input signed [B-1:0] other);
    /* verilator lint_off UNUSEDSIGNAL */
    reg signed [2*B+A-1:0] wide;
    /* verilator lint_on UNUSEDSIGNAL */
    begin
      wide = one * other;
      dfc_product = wide[A-1:0];
    end
  endfunction

  // Level g of all trees stands at g * TREES * LEAVES sums; it uses the first LEAVES >> g of each tree.
  /* verilator lint_off UNUSEDSIGNAL */
  wire [(LEVELS+1)*TREES*LEAVES*A-1:0] level;
  /* verilator lint_on UNUSEDSIGNAL */
  assign level[TREES*LEAVES*A-1:0] = product;
  genvar g, v, p;
  generate
    for (g = 0; g < LEVELS; g = g + 1) begin : depth
      for (v = 0; v < TREES; v = v + 1) begin : tree_at
        for (p = 0; p < LEAVES; p = p + 1) begin : node
          if (p < (LEAVES >> (g + 1))) begin : adder
            reg [A-1:0] sum;
            always @(posedge clk) sum <= level[((g*TREES + v)*LEAVES + 2*p)*A +: A]
                                       + level[((g*TREES + v)*LEAVES + 2*p + 1)*A +: A];
            assign level[(((g+1)*TREES + v)*LEAVES + p)*A +: A] = sum;
          end else begin : none
            assign level[(((g+1)*TREES + v)*LEAVES + p)*A +: A] = {A{1'b0}};
          end
        end
      end
    end
  endgenerate
  wire [TREES*A-1:0] sums, sums_late;
  generate
    for (v = 0; v < TREES; v = v + 1) begin : root
      assign sums[v*A +: A] = level[(LEVELS*TREES + v)*LEAVES*A +: A];
    end
  endgenerate
  dfc_delay #(.CYCLES(STAGES - 2), .WIDTH(TREES*A)) extra (.clk(clk), .in(sums), .out(sums_late));

  // ---- accumulators; what is known of a row comes with its sums
  wire [AW+2*SW+3:0] known;
  wire [AW-1:0] at_y;
  wire [SW-1:0] at_row, at_n;
  wire at_open, at_close, at_carried, at_valid;
  reg [AW+2*SW+3:0] known_q;
  // Sums of the row read now reach the accumulators TAIL + 1 cycles from now.
  dfc_delay #(.CYCLES(TAIL), .WIDTH(AW + 2*SW + 4)) with_sums (
      .clk(clk), .out(known),
      .in({fold_y, row, fold_n, fold_open, fold_close, fold_open ? !fold_begin : carried, goes && !rst}));
  always @(posedge clk) known_q <= known;
  assign {at_y, at_row, at_n, at_open, at_close, at_carried, at_valid} = known_q;
  localparam integer HW = HOLD > 1 ? $clog2(HOLD) : 1;
  reg [HOLD*TREES*A-1:0] acc;
  reg [TREES*A-1:0] now, after, out;
  reg [TREES*A-1:0] written;            // what the last cycle wrote: a read of the same line came too early to see it
  reg same;
  reg [TREES-1:0] read, write;
  integer a, slot;                      // slot: of the row
  always @* begin
    slot = $signed({{(32-HW){1'b0}}, at_row[HW-1:0]});
    now = acc[slot*TREES*A +: TREES*A];
    for (a = 0; a < TREES; a = a + 1) begin
      after[a*A +: A] = (at_open ? {A{1'b0}} : now[a*A +: A]) + sums_late[a*A +: A];
      out[a*A +: A] = after[a*A +: A]
          + (!at_carried ? {A{1'b0}} : same ? written[a*A +: A] : y_rdata[a*A +: A]);
      write[a] = at_valid && at_close && at_n > a[SW-1:0];
      read[a] = known[0] && known[1] && known[2] && known[4 +: SW] > a[SW-1:0];
    end
  end
  wire [AW-1:0] y_line = at_y + {{(AW-SW){1'b0}}, at_row};
  wire [AW-1:0] y_next = known[2*SW+4 +: AW] + {{(AW-SW){1'b0}}, known[SW+4 +: SW]};
  always @(posedge clk) begin
    written <= out;
    same <= at_valid && at_close && y_line == y_next;
  end
  always @(posedge clk) if (at_valid) acc[slot*TREES*A +: TREES*A] <= after;
  assign y_read = read;
  assign y_raddr = {TREES{y_next}};
  assign y_write = write;
  assign y_waddr = {TREES{y_line}};
  assign y_wdata = out;
endmodule
